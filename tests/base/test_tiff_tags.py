"""TIFF files whose directory leaves something out, or states a length that cannot be."""

from pathlib import Path

import numpy as np
import pytest

from cad_edge.data.image import decode_image
from cad_edge.errors import ImageError
from tests.base.picture_files import HEIGHT, WIDTH, levels, ramp, tiff, tiff_of
from tests.base.tiff_directories import with_length, without

R8 = ramp(8)
RGB = np.dstack([R8, R8[:, ::-1], R8 // 2])


def read(tmp_path: Path, content: bytes) -> np.ndarray:
    (tmp_path / "a.tif").write_bytes(content)
    return decode_image(tmp_path / "a.tif")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("values", "bits"), [(R8, 8), (ramp(1), 1), (ramp(12), 12), (ramp(16), 16), (RGB, 8)]
)
@pytest.mark.parametrize("deflate", [False, True])
def test_no_word_on_what_zero_is(tmp_path, order, values, bits, deflate):
    """tifffile and Pillow take it for white, libtiff for black."""
    content = tiff(values, bits, 1 if values.ndim == 2 else 2, order, deflate=deflate)
    with pytest.raises(ImageError) as caught:
        read(tmp_path, without(content, 262))
    assert "no word on whether 0 is black or white (TIFF tag 262 is missing)" in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_no_word_on_the_depth(tmp_path):
    """It is one bit then, as the specification says."""
    content = without(tiff(ramp(1), 1, 1), 258)
    np.testing.assert_array_equal(read(tmp_path, content)[..., 0], levels(ramp(1), 1))
    for values, bits in ((R8, 8), (ramp(4), 4), (ramp(16), 16)):
        with pytest.raises(ImageError, match="how many bits a sample has"):
            read(tmp_path, without(tiff(values, bits, 1), 258))


@pytest.mark.parametrize("tag", [259, 266, 277, 278, 284])
def test_what_has_a_default(tmp_path, tag):
    np.testing.assert_array_equal(read(tmp_path, without(tiff(R8, 8, 1), tag))[..., 0], R8)


@pytest.mark.parametrize("length", [0, HEIGHT * WIDTH + 4000, 0xFFFFFFFF])
@pytest.mark.parametrize(
    ("values", "bits"), [(R8, 8), (ramp(1), 1), (ramp(12), 12), (ramp(16), 16), (RGB, 8)]
)
def test_a_whole_strip_of_an_impossible_length(tmp_path, values, bits, length):
    content = tiff(values, bits, 1 if values.ndim == 2 else 2)
    wanted = read(tmp_path, content)
    length = length and max(length, len(content))
    np.testing.assert_array_equal(read(tmp_path, with_length(content, length)), wanted)


@pytest.mark.parametrize("length", [0, 1 << 20])
def test_a_cut_strip_of_an_impossible_length(tmp_path, length):
    """The directory lies first, so that a cut takes pixels."""
    content = bytearray(tiff_of(R8))
    with pytest.raises(ImageError, match="strips or tiles are missing"):
        read(tmp_path, with_length(bytes(content), length)[:-1])
    with pytest.raises(ImageError, match="strips or tiles are missing"):
        read(tmp_path, with_length(tiff(R8, 8, 1, deflate=True), length))


@pytest.mark.parametrize(("values", "bits"), [(R8, 8), (ramp(16), 16)])
def test_undefined_samples_are_unsigned(tmp_path, values, bits):
    content = tiff(values, bits, 1, tags=[(339, "H", [4])])
    np.testing.assert_array_equal(read(tmp_path, content)[..., 0], levels(values, 2**bits - 1))
    white = tiff(values[:, ::-1], bits, 0, tags=[(339, "H", [4])])
    np.testing.assert_array_equal(read(tmp_path, white)[..., 0], levels(values, 2**bits - 1))
