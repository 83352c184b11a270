"""Defect masks: which pixels count, for everything that labelling tools write."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cad_edge.data.mask import decode_mask, read_mask
from cad_edge.errors import ImageError

SIZE = (384, 512)
AREA = 4000


def drawn() -> np.ndarray:
    """(384, 512) bool: a defect of 50 x 80 pixels."""
    mask = np.zeros(SIZE, np.bool_)
    mask[100:150, 200:280] = True
    return mask


def grey(values: np.ndarray, high: int = 255) -> Image.Image:
    return Image.fromarray((values * high).astype(np.uint8))


def saved(tmp_path, image: Image.Image, name: str = "mask.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def area(path) -> int:
    return int(decode_mask(path, SIZE).sum())


@pytest.mark.parametrize("quality", [50, 75, 90, 95, 100])
def test_compression_leaves_the_area_as_it_was(tmp_path, quality):
    path = saved(tmp_path, grey(drawn()), "mask.jpg", quality=quality)
    np.testing.assert_array_equal(decode_mask(path, SIZE), drawn())
    path = saved(tmp_path, grey(drawn()), "mask.webp", quality=quality)
    assert area(path) == pytest.approx(AREA, rel=0.01)
    assert area(saved(tmp_path, grey(drawn(), 1), "mask.webp", lossless=True)) == AREA


def test_a_jpeg_that_was_saved_as_png(tmp_path):
    buffer = io.BytesIO()
    grey(drawn()).save(buffer, "JPEG", quality=80)
    assert area(saved(tmp_path, Image.open(buffer))) == AREA


def test_a_jpeg_of_whole_blocks_has_few_values(tmp_path):
    mask = np.zeros(SIZE, np.bool_)
    mask[96:144, 200:280] = True
    assert area(saved(tmp_path, grey(mask, 254), "mask.jpg", quality=90)) == 48 * 80


def test_a_tiff_with_jpeg_inside(tmp_path):
    assert area(saved(tmp_path, grey(drawn()), "mask.tif", compression="jpeg")) == AREA


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("filter_", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("name", ["mask.png", "mask.jpg"])
def test_smoothed_edges_keep_the_area(tmp_path, factor, filter_, name):
    small = np.zeros((SIZE[0] // factor, SIZE[1] // factor), np.bool_)
    small[20:50, 30:70] = True
    wide = grey(small).resize((small.shape[1] * factor, small.shape[0] * factor), filter_)
    marked = read_mask(saved(tmp_path, wide, name))
    assert marked.sum() == pytest.approx(30 * 40 * factor**2, rel=0.01)


def test_a_mask_that_was_made_smaller(tmp_path):
    half = grey(drawn()).resize((171, 128), Image.Resampling.BOX)
    assert decode_mask(saved(tmp_path, half), (128, 171)).sum() == pytest.approx(AREA / 9, rel=0.05)


@pytest.mark.parametrize("value", [1, 2, 100, 254, 255])
def test_one_value_is_the_defect_however_faint(tmp_path, value):
    assert area(saved(tmp_path, grey(drawn(), value))) == AREA


@pytest.mark.parametrize("values", [(1, 2, 3), (1, 7, 31), (60, 130, 255), (253, 254, 255)])
def test_every_class_is_defect(tmp_path, values):
    mask = np.zeros(SIZE, np.uint8)
    for number, value in enumerate(values):
        mask[100:140, 50 * number : 50 * number + 50] = value  # they touch
    assert area(saved(tmp_path, Image.fromarray(mask))) == 40 * 150


def test_a_scratch_one_pixel_wide_keeps_its_class(tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[100, :300], mask[200:240, 200:250] = 1, 2
    assert area(saved(tmp_path, Image.fromarray(mask))) == 300 + 2000


@pytest.mark.parametrize("high", [1, 255, 65535])
def test_masks_of_16_bits(tmp_path, high):
    path = saved(tmp_path, Image.fromarray((drawn() * high).astype(np.uint16)))
    assert area(path) == AREA


def test_float_masks(tmp_path):
    assert area(saved(tmp_path, Image.fromarray(drawn().astype(np.float32)), "m.tif")) == AREA
    path = saved(
        tmp_path, Image.fromarray(np.where(drawn(), np.nan, 0).astype(np.float32)), "m.tif"
    )
    with pytest.raises(ImageError, match="negative, infinite or undefined"):
        decode_mask(path, SIZE)


def test_one_bit_and_palette(tmp_path):
    assert area(saved(tmp_path, Image.fromarray(drawn()))) == AREA
    labels = grey(drawn(), 2).convert("P")
    labels.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    assert area(saved(tmp_path, labels)) == AREA


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 1), (255, 255, 255)])
def test_every_colour_but_black(tmp_path, colour):
    pixels = drawn()[..., None] * np.array(colour, np.uint8)
    assert area(saved(tmp_path, Image.fromarray(pixels.astype(np.uint8)))) == AREA


@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        ((0, 0, 0, 255), (0, 0, 0, 0)),
        ((0, 0, 0, 255), (255, 255, 255, 0)),
        ((255, 255, 255, 255), (0, 0, 0, 0)),
        ((255, 255, 255, 255), (255, 255, 255, 0)),
        ((255, 255, 255, 255), (0, 0, 0, 255)),
        ((255, 0, 0, 128), (0, 0, 0, 0)),
    ],
)
def test_transparency(tmp_path, ink, ground):
    pixels = np.where(drawn()[..., None], ink, ground).astype(np.uint8)
    assert area(saved(tmp_path, Image.fromarray(pixels))) == AREA


def refusal(path, size=SIZE) -> str:
    with pytest.raises(ImageError) as caught:
        decode_mask(path, size)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["mask.png", "mask.jpg", "mask.bmp"])
def test_a_mask_without_a_pixel(tmp_path, name):
    path = saved(tmp_path, Image.new("L", (512, 384)), name)
    assert "marks no pixel, and its image is that of a defect" in refusal(path)


@pytest.mark.parametrize("name", ["mask.png", "mask.jpg"])
@pytest.mark.parametrize("corner", [(100, 200), (0, 0), (334, 200)])
def test_an_inverted_mask(tmp_path, name, corner):
    mask = np.ones(SIZE, np.bool_)
    mask[corner[0] : corner[0] + 50, corner[1] : corner[1] + 80] = False
    said = refusal(saved(tmp_path, grey(mask), name))
    assert "it marks 98.0 % of its image and spares a piece, as an inverted mask" in said


def test_a_large_inverted_defect(tmp_path):
    mask = np.ones(SIZE, np.bool_)
    mask[20:300, 20:300] = False
    assert "as an inverted mask does" in refusal(saved(tmp_path, grey(mask)))


def test_large_defects_are_no_inverted_masks(tmp_path):
    """The whole part; one side of it; all of a round part but the corners; most of a frame."""
    rows, columns = np.mgrid[-1:1:384j, -1:1:512j]
    for mask in (
        np.ones(SIZE, np.bool_),
        columns < 0.7,
        rows**2 + columns**2 < 1,
        (abs(rows) > 0.8) | (columns > 0.8),
    ):
        np.testing.assert_array_equal(decode_mask(saved(tmp_path, grey(mask)), SIZE), mask)


def test_grey_that_is_neither_defect_nor_edge(tmp_path, rng):
    photograph = Image.fromarray(rng.integers(0, 256, SIZE, np.uint8)).resize((512, 384))
    faint = np.zeros(SIZE, np.uint8)
    faint[300, 50:400], faint[100:150, 200:280] = 90, 255  # one thin, one large, 90 is no class
    for image in (Image.fromarray(faint), photograph.point(lambda value: max(value // 2 - 9, 0))):
        try:
            assert area(saved(tmp_path, image)) > AREA
        except ImageError as problem:
            assert "grey values that belong to no edge" in str(problem)


def test_a_jpeg_cannot_hold_numbers_of_classes(tmp_path):
    path = saved(tmp_path, grey(drawn(), 60), "mask.jpg", quality=95)
    assert "has no white pixel and is stored with loss" in refusal(path)


def test_several_masks_of_one_image_add_up(tmp_path):
    (tmp_path / "000").mkdir()
    first, second = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.bool_)
    first[10:30, 10:30], second[20:40, 10:30] = True, True
    saved(tmp_path / "000", grey(first, 254), "000.png")
    saved(tmp_path / "000", grey(second, 230), "001.png")
    np.testing.assert_array_equal(decode_mask(tmp_path / "000", SIZE), first | second)
    saved(tmp_path / "000", Image.new("L", (512, 384)), "002.png")
    assert "002.png cannot be used: it marks no pixel" in refusal(tmp_path / "000")


def test_a_mask_of_another_size(tmp_path):
    path = saved(tmp_path, grey(drawn()))
    assert "mask.png is 512x384 px but its image is 384x512 px" in refusal(path, (512, 384))


def test_a_thin_line_that_was_blurred_is_neither_widened_nor_lost(tmp_path):
    line = np.zeros(SIZE, np.bool_)
    line[100:103, 50:400] = True
    blurred = grey(line).filter(ImageFilter.GaussianBlur(1))
    assert area(saved(tmp_path, blurred)) == pytest.approx(3 * 350, rel=0.01)
    for radius in (2, 6):
        path = saved(tmp_path, grey(line).filter(ImageFilter.GaussianBlur(radius)))
        assert "grey values that belong to no edge" in refusal(path)
