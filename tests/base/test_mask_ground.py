"""Masks on another ground than black, and inverted ones, which would mark the ground: refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.mask import decode_mask
from cad_edge.errors import ImageError

SIZE = (96, 128)
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
WHITE, NAVY, VIOLET, BLACK = (255, 255, 255), (0, 0, 128), (68, 1, 84), (0, 0, 0)


def drawn() -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[24:56, 40:80] = True
    return mask


def saved(tmp_path: Path, values: np.ndarray, name: str = "mask.png", **options: object) -> Path:
    path = tmp_path / name
    Image.fromarray(values).save(path, **options)
    return path


def coloured(ink: tuple[int, ...], ground: tuple[int, ...]) -> np.ndarray:
    return np.where(drawn()[..., None], ink, ground).astype(np.uint8)


def require_refused(path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode_mask(path, SIZE)
    said = str(caught.value)
    assert str(path) in said and "\n" not in said and len(said) < 600
    assert "has no black ground" in said and "make the defect white and all else black" in said


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mask.png", {}),
        ("mask.bmp", {}),
        ("mask.webp", {"lossless": True}),
        ("mask.webp", {"quality": 80}),
        ("mask.jpg", {"quality": 95}),
        ("mask.jpg", {"quality": 40}),
        ("mask.tif", {"compression": "jpeg"}),
    ],
)
@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        (RED, WHITE),
        (RED, GREEN),
        (GREEN, BLUE),
        (YELLOW, NAVY),
        (YELLOW, VIOLET),
        (RED, (128, 128, 128)),
        (WHITE, (128, 128, 128)),
        (WHITE, RED),
    ],
)
def test_colours_on_a_ground_that_is_not_black(tmp_path, ink, ground, name, options):
    require_refused(saved(tmp_path, coloured(ink, ground), name, **options))


@pytest.mark.parametrize(
    ("high", "low", "kind"),
    [
        (255, 128, np.uint8),
        (2, 1, np.uint8),
        (1, 2, np.uint8),
        (255, 254, np.uint8),
        (65535, 257, np.uint16),
        (1.0, 0.5, np.float32),
    ],
)
def test_values_on_a_ground_that_is_not_zero(tmp_path, high, low, kind):
    values = np.where(drawn(), high, low).astype(kind)
    require_refused(saved(tmp_path, values, "mask.tif"))


def test_a_palette_of_white_and_red(tmp_path):
    image = Image.fromarray(drawn().astype(np.uint8))
    image.putpalette([*WHITE, *RED])
    for name in ("mask.png", "mask.bmp"):
        image.save(tmp_path / name)
        require_refused(tmp_path / name)


def test_colours_under_full_alpha(tmp_path):
    require_refused(saved(tmp_path, coloured((*RED, 255), (*WHITE, 255))))
    path = saved(tmp_path, coloured((*RED, 255), (*WHITE, 0)))
    np.testing.assert_array_equal(decode_mask(path, SIZE), drawn())


def test_smoothed_edges_on_grey(tmp_path):
    image = Image.fromarray(np.where(drawn(), 255, 128).astype(np.uint8)).resize((64, 48))
    image.resize((128, 96), Image.Resampling.BICUBIC).save(tmp_path / "mask.png")
    require_refused(tmp_path / "mask.png")


@pytest.mark.parametrize("colour", [RED, WHITE, (0, 0, 200), (128, 128, 128)])
@pytest.mark.parametrize("name", ["mask.png", "mask.jpg", "mask.webp"])
def test_a_file_of_one_colour_marks_the_whole_image(tmp_path, colour, name):
    path = saved(tmp_path, coloured(colour, colour), name)
    assert decode_mask(path, SIZE).all()


@pytest.mark.parametrize("colour", [RED, GREEN, YELLOW, WHITE])
@pytest.mark.parametrize("name", ["mask.png", "mask.jpg", "mask.webp"])
def test_colours_on_black(tmp_path, colour, name):
    path = saved(tmp_path, coloured(colour, BLACK), name)
    assert decode_mask(path, SIZE).sum() == pytest.approx(drawn().sum(), rel=0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"icc_profile": b"x" * 300},
        {"exif": b"Exif\0\0" + b"x" * 200},
        {"icc_profile": b"x" * 3, "xmp": b"<x/>"},
        {},
    ],
)
def test_a_lossless_webp_with_other_chunks_before_its_pixels(tmp_path, options):
    path = saved(tmp_path, drawn().astype(np.uint8), "mask.webp", lossless=True, **options)
    np.testing.assert_array_equal(decode_mask(path, SIZE), drawn())


def test_a_lossless_webp_of_several_frames(tmp_path):
    more = [Image.fromarray(np.zeros(SIZE, np.uint8))]
    path = saved(
        tmp_path,
        drawn().astype(np.uint8),
        "mask.webp",
        lossless=True,
        save_all=True,
        append_images=more,
    )
    np.testing.assert_array_equal(decode_mask(path, SIZE), drawn())


def test_the_letters_of_lossless_in_a_lossy_webp(tmp_path):
    """A JPEG-like file of faint marks is refused; what its profile holds does not matter."""
    path = saved(tmp_path, np.where(drawn(), 60, 0).astype(np.uint8), "m.webp", icc_profile=b"VP8L")
    with pytest.raises(ImageError, match="stored with loss"):
        decode_mask(path, SIZE)


@pytest.mark.parametrize(
    "defect",
    [
        (slice(0, 20), slice(0, 70)),  # in a corner
        (slice(0, 20), slice(30, 70)),  # at the upper border
        (slice(60, 96), slice(90, 128)),
        (slice(10, 90), slice(10, 120)),  # more than half of the image
        (slice(10, 14), slice(10, 12)),
    ],
)
def test_inverted_masks(tmp_path, defect):
    mask = np.ones(SIZE, np.bool_)
    mask[defect] = False
    with pytest.raises(ImageError, match="as an inverted mask does"):
        decode_mask(saved(tmp_path, mask), SIZE)
    # The mask as it was meant is read.
    np.testing.assert_array_equal(decode_mask(saved(tmp_path, ~mask), SIZE), ~mask)


@pytest.mark.parametrize(
    ("ink", "ground"), [(RED, BLUE), (RED, (128, 128, 128)), (WHITE, NAVY), (WHITE, (1, 1, 1))]
)
def test_black_lines_are_no_ground(tmp_path, ink, ground):
    for frame in (False, True):
        pixels = coloured(ink, ground)
        pixels[:1] = 0
        if frame:
            pixels[-1:], pixels[:, :1], pixels[:, -1:] = 0, 0, 0
        require_refused(saved(tmp_path, pixels))


def test_a_large_defect_of_one_colour_needs_little_ground(tmp_path):
    mask = np.ones(SIZE, np.bool_)
    mask[0], mask[:, 0] = False, False
    for values in (mask, mask.astype(np.uint8), mask[..., None] * np.array(RED, np.uint8)):
        np.testing.assert_array_equal(decode_mask(saved(tmp_path, values), SIZE), mask)


@pytest.mark.parametrize("width", [1, 3])
def test_a_frame_drawn_around_the_mask(tmp_path, width):
    mask = drawn()
    mask[:width], mask[-width:], mask[:, :width], mask[:, -width:] = True, True, True, True
    with pytest.raises(
        ImageError, match=r"whole border and .* % of its image, as an inverted mask"
    ):
        decode_mask(saved(tmp_path, mask), SIZE)
