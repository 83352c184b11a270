"""What a pixel value means, for every kind of file and array, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.image import (
    ImageRecipe,
    as_rgb,
    decode_image,
    image_size,
)
from cad_edge.data.mask import decode_mask
from cad_edge.errors import ImageError
from tests.base.conftest import SIDE
from tests.base.picture_files import png, save, tiff


class TestArrays:
    def test_rgb_frame_is_passed_through(self, colour):
        assert as_rgb(colour) is colour

    def test_reversed_channels_become_contiguous(self, colour):
        frame = as_rgb(colour[..., ::-1])
        assert frame.flags.c_contiguous
        np.testing.assert_array_equal(frame[..., 0], colour[..., 2])

    @pytest.mark.parametrize("axis", [False, True])
    def test_grey_fills_three_channels(self, grey, axis):
        frame = as_rgb(grey[..., None] if axis else grey)
        assert frame.shape == (*grey.shape, 3)
        assert all(np.array_equal(frame[..., channel], grey) for channel in range(3))

    def test_alpha_is_composited_over_black(self, colour):
        alpha = np.full(colour.shape[:2], 255, np.uint8)
        alpha[0], alpha[1] = 0, 128
        frame = as_rgb(np.dstack([colour, alpha]))
        assert not frame[0].any()
        np.testing.assert_array_equal(frame[1], np.rint(colour[1] * (128 / 255)).astype(np.uint8))
        np.testing.assert_array_equal(frame[2:], colour[2:])

    def test_uint16_maps_its_whole_range(self):
        values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        np.testing.assert_array_equal(as_rgb(values)[..., 0], np.rint(values / 257))

    def test_dark_uint16_is_not_stretched(self):
        assert as_rgb(np.full((SIDE, SIDE), 300, np.uint16)).max() == 1

    def test_foreign_byte_order(self):
        values = np.full((SIDE, SIDE), 257 * 9, ">u2")
        assert (as_rgb(values) == 9).all()

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_float_maps_the_unit_interval(self, dtype):
        values = np.tile(np.linspace(0, 1, SIDE), (SIDE, 1)).astype(dtype)
        expected = np.rint(values.astype(np.float64) * 255)
        np.testing.assert_array_equal(as_rgb(values)[..., 1], expected)

    def test_dark_float_is_not_stretched(self):
        assert as_rgb(np.full((SIDE, SIDE), 0.01)).max() == 3

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_float_must_be_finite(self, bad):
        values = np.full((SIDE, SIDE, 3), 0.5, np.float32)
        values[3, 4, 1] = bad
        with pytest.raises(ImageError, match="NaN or infinite"):
            as_rgb(values)

    @pytest.mark.parametrize("bad", [-0.01, 1.01, 255.0])
    def test_float_must_lie_in_the_unit_interval(self, bad):
        values = np.full((SIDE, SIDE), 0.5, np.float32)
        values[3, 4] = bad
        with pytest.raises(ImageError, match="scale it to"):
            as_rgb(values)

    @pytest.mark.parametrize(
        "dtype", [np.bool_, np.int8, np.int32, np.uint32, np.complex64, object]
    )
    def test_other_types_are_refused(self, dtype):
        with pytest.raises(ImageError, match="give uint8, uint16, or float"):
            as_rgb(np.zeros((SIDE, SIDE, 3), dtype))

    @pytest.mark.parametrize(
        "shape",
        [(), (SIDE,), (SIDE, SIDE, 2), (SIDE, SIDE, 5), (3, SIDE, SIDE), (1, SIDE, SIDE, 3)],
    )
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ImageError, match="has shape"):
            as_rgb(np.zeros(shape, np.uint8))

    @pytest.mark.parametrize("shape", [(1, 1, 3), (0, 0, 3), (7, 100), (100, 7, 4)])
    def test_small_arrays_are_refused(self, shape):
        with pytest.raises(ImageError, match="at least 8 px"):
            as_rgb(np.zeros(shape, np.uint8))

    def test_a_file_name_is_not_an_array(self):
        with pytest.raises(ImageError, match="give a numpy array"):
            as_rgb("frame.png")


class TestRecipe:
    def test_fitting_frame_is_not_copied(self, colour):
        assert ImageRecipe(width=SIDE + 4, height=SIDE).apply(colour) is colour

    def test_resizes_to_height_and_width(self, colour):
        resized = ImageRecipe(width=9, height=20).apply(colour)
        assert resized.shape == (20, 9, 3)
        assert resized.dtype == np.uint8
        assert resized.flags.writeable

    def test_large_frame_is_resized_as_a_small_one(self, rng):
        """In strips, which must not show."""
        large = rng.integers(0, 256, (1500, 3001, 3), dtype=np.uint8)
        recipe = ImageRecipe(width=100, height=90)
        expected = Image.fromarray(large).resize((100, 90), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(recipe.apply(large), expected)

    def test_shrinking_does_not_alias(self):
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, ::2] = 255
        inner = ImageRecipe(width=16, height=16).apply(stripes)[:, 2:-2]
        assert inner.min() > 120
        assert inner.max() < 135

    def test_equals_pillow(self, colour):
        expected = Image.fromarray(colour).resize((8, 10), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(ImageRecipe(width=8, height=10).apply(colour), expected)

    @pytest.mark.parametrize("bad", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8)])
    def test_refuses_what_is_no_frame(self, bad):
        with pytest.raises(ImageError, match="uint8"):
            ImageRecipe(width=8, height=8).apply(bad)


class TestFiles:
    @pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff"])
    def test_lossless_colour(self, tmp_path, colour, name):
        frame = decode_image(save(tmp_path, name, Image.fromarray(colour)))
        np.testing.assert_array_equal(frame, colour)
        assert frame.flags.writeable

    def test_webp(self, tmp_path, colour):
        path = save(tmp_path, "a.webp", Image.fromarray(colour), lossless=True)
        np.testing.assert_array_equal(decode_image(path), colour)

    def test_the_contents_decide_not_the_suffix(self, tmp_path, colour):
        path = save(tmp_path, "a.jpg", Image.fromarray(colour), format="PNG")
        np.testing.assert_array_equal(decode_image(path), colour)

    def test_grey_jpeg(self, tmp_path, grey):
        path = save(tmp_path, "a.jpg", Image.fromarray(grey), quality=95)
        frame = decode_image(path)
        np.testing.assert_array_equal(frame[..., 0], frame[..., 2])
        np.testing.assert_array_equal(frame[..., 0], np.asarray(Image.open(path)))

    def test_one_bit(self, tmp_path, grey):
        bits = grey > 127
        frame = decode_image(save(tmp_path, "a.png", Image.fromarray(bits)))
        np.testing.assert_array_equal(frame[..., 1], bits * 255)

    def test_palette_gives_its_colours(self, tmp_path):
        image = Image.new("P", (SIDE, SIDE), 1)
        image.putpalette([0, 0, 0, 10, 200, 30])
        frame = decode_image(save(tmp_path, "a.png", image))
        assert (frame == (10, 200, 30)).all()

    def test_transparent_palette_entry_is_black(self, tmp_path):
        image = Image.new("P", (SIDE, SIDE), 1)
        image.putpalette([90, 80, 70, 10, 200, 30])
        image.putpixel((3, 4), 0)
        frame = decode_image(save(tmp_path, "a.png", image, transparency=1))
        assert tuple(frame[4, 3]) == (90, 80, 70)
        assert np.count_nonzero(frame.any(axis=2)) == 1

    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_alpha(self, tmp_path, mode):
        image = Image.new(mode, (SIDE, SIDE), (200, 51) if mode == "LA" else (200, 200, 200, 51))
        assert (decode_image(save(tmp_path, "a.png", image)) == 40).all()

    def test_grey_of_16_bits(self, tmp_path, rng):
        values = rng.integers(0, 65536, (SIDE, SIDE), dtype=np.uint16)
        for name in ("a.png", "a.tiff"):
            frame = decode_image(save(tmp_path, name, Image.fromarray(values)))
            np.testing.assert_array_equal(frame[..., 2], np.rint(values / 257))

    def test_colour_of_16_bits_is_that_of_an_array(self, tmp_path, rng):
        values = rng.integers(0, 65536, (SIDE, SIDE, 3), dtype=np.uint16)
        (tmp_path / "a.png").write_bytes(png(values, 16, 2))
        (tmp_path / "a.tif").write_bytes(tiff(values, 16, 2))
        for name in ("a.png", "a.tif"):
            frame = decode_image(tmp_path / name)
            np.testing.assert_array_equal(frame, np.rint(values / 257))
            np.testing.assert_array_equal(frame, as_rgb(values))

    def test_float_tiff(self, tmp_path):
        values = np.full((SIDE, SIDE), 0.2, np.float32)
        assert (decode_image(save(tmp_path, "a.tiff", Image.fromarray(values))) == 51).all()
        path = save(tmp_path, "b.tiff", Image.fromarray(values * 100))
        with pytest.raises(ImageError, match=r"b\.tiff cannot be used: .* scale it"):
            decode_image(path)

    def test_cmyk_jpeg(self, tmp_path):
        image = Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0))
        frame = decode_image(save(tmp_path, "a.jpg", image, quality=95))
        assert (abs(frame.astype(int) - (255, 0, 0)) < 12).all()

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tiff"])
    def test_exif_orientation_is_applied(self, tmp_path, name, orientation):
        stored = np.zeros((16, 32), np.uint8)
        stored[:8, :8] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        frame = decode_image(save(tmp_path, name, Image.fromarray(stored), exif=exif))
        upright = {
            1: stored,
            2: stored[:, ::-1],
            3: stored[::-1, ::-1],
            4: stored[::-1],
            5: stored.T,
            6: stored.T[:, ::-1],
            7: stored.T[::-1, ::-1],
            8: stored.T[::-1],
        }[orientation]
        assert frame.shape == (*upright.shape, 3)
        np.testing.assert_array_equal(frame[..., 0] > 127, upright > 127)

    def test_first_page_of_several(self, tmp_path, colour):
        first = Image.fromarray(colour)
        path = save(tmp_path, "a.tiff", first, save_all=True, append_images=[first.rotate(180)])
        np.testing.assert_array_equal(decode_image(path), colour)

    def test_pixel_type_without_a_rule(self, tmp_path):
        path = save(tmp_path, "a.tiff", Image.new("I", (SIDE, SIDE), 70000))
        with pytest.raises(ImageError, match=r"a\.tiff has an unsupported pixel type: "):
            decode_image(path)


class TestMasks:
    @pytest.mark.parametrize("value", [1, 255])
    def test_every_value_but_zero_is_defect(self, tmp_path, value):
        drawn = np.zeros((SIDE, SIDE + 4), np.uint8)
        drawn[2:4, 3:6] = value
        mask = decode_mask(save(tmp_path, "m.png", Image.fromarray(drawn)), drawn.shape)
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, drawn > 0)

    def test_faint_value_of_16_bits(self, tmp_path):
        drawn = np.zeros((SIDE, SIDE), np.uint16)
        drawn[5, 5] = 1
        assert decode_mask(save(tmp_path, "m.png", Image.fromarray(drawn)), drawn.shape).sum() == 1

    def test_colour(self, tmp_path):
        drawn = np.zeros((SIDE, SIDE, 3), np.uint8)
        drawn[5, 5, 2] = 1
        assert decode_mask(save(tmp_path, "m.png", Image.fromarray(drawn)), (SIDE, SIDE)).sum() == 1

    def test_another_size_names_both(self, tmp_path):
        path = save(tmp_path, "m.png", Image.new("L", (10, 20)))
        with pytest.raises(ImageError, match=r"m\.png is 10x20 px but its image is 20x10 px"):
            decode_mask(path, (10, 20))


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_size_is_that_of_the_decoded_image(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path, exif=exif)
    assert image_size(path) == decode_image(path).shape[:2]


def test_size_of_no_image_is_refused(tmp_path):
    (tmp_path / "none.png").write_bytes(b"none")
    with pytest.raises(ImageError, match=r"none\.png cannot be read"):
        image_size(tmp_path / "none.png")
