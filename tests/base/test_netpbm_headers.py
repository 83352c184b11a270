"""Where the header of a PGM, PPM or PBM ends: no picture is shifted by a byte."""

from pathlib import Path

import numpy as np
import pytest

from cad_edge.data.image import decode_image
from cad_edge.errors import ImageError
from tests.base.picture_files import levels, ramp

R8 = ramp(8)
BEGINS = {  # values that a header could be mistaken for
    "dark": R8,
    "a line feed": np.where(np.arange(R8.size).reshape(R8.shape) == 0, 10, R8),
    "a hash": np.where(np.arange(R8.size).reshape(R8.shape) == 0, 35, R8),
}
PIXELS = {name: values.astype(np.uint8) for name, values in BEGINS.items()}


def read(tmp_path: Path, content: bytes) -> np.ndarray:
    (tmp_path / "a.pgm").write_bytes(content)
    return decode_image(tmp_path / "a.pgm")[..., 0]


@pytest.mark.parametrize("begins", PIXELS)
@pytest.mark.parametrize(
    "header",
    [
        b"P5\n64 48\n255\n",
        b"P5 64 48 255 ",
        b"P5\r\n64 48\r\n255\r\n",
        b"P5 64 48 255\r\n",
        b"P5\n64 48\n255\r\n",
        b"P5\r64 48\r255\r",
        b"P5\n# one\n64 48 # two\n255\n",
        b"P5\n64 48\n255# right behind\n",
        b"P5\n64 48\n255 # after a blank\n",
        b"P5\n64 48\n255 #\n",
        b"P5\n64 48\n255\n# on its own line\n",
        b"P5\n64 48\n255\n# two\n# lines\n",
        b"P5\r\n64 48\r\n255 # windows\r\n",
        b"P5\r\n64 48\r\n255\r\n# windows\r\n",
    ],
)
def test_headers(tmp_path, header, begins):
    wanted = PIXELS[begins]
    np.testing.assert_array_equal(read(tmp_path, header + wanted.tobytes()), wanted)


@pytest.mark.parametrize(
    "header", [b"P5\r\n64 48\r\n4095\r\n", b"P5 64 48 4095\r\n", b"P5 64 48 4095 # c\n"]
)
def test_two_bytes_a_pixel(tmp_path, header):
    wanted = ramp(12)
    content = header + wanted.astype(">u2").tobytes()
    np.testing.assert_array_equal(read(tmp_path, content), levels(wanted, 4095))


@pytest.mark.parametrize("header", [b"P4\r\n64 48\r\n", b"P4\n64 48\r\n", b"P4\n64 48 # c\n"])
def test_bits(tmp_path, rng, header):
    bits = rng.integers(0, 2, (48, 64), dtype=np.uint8)
    content = header + np.packbits(1 - bits, axis=1).tobytes()
    np.testing.assert_array_equal(read(tmp_path, content), bits * 255)


@pytest.mark.parametrize("header", [b"P6\r\n64 48\r\n255\r\n", b"P6 64 48 255 # c\n"])
def test_colours(tmp_path, header):
    wanted = np.dstack([R8, R8[:, ::-1], R8 // 2])
    (tmp_path / "a.ppm").write_bytes(header + wanted.tobytes())
    np.testing.assert_array_equal(decode_image(tmp_path / "a.ppm"), wanted)


@pytest.mark.parametrize(
    "further", [b"\n", b"\r\n", bytes(100), b"P5\n64 48\n255\n" + R8.tobytes()]
)
@pytest.mark.parametrize("header", [b"P5\n64 48\n255\n", b"P5\r\n64 48\r\n255\r\n"])
def test_what_follows_the_picture(tmp_path, header, further):
    np.testing.assert_array_equal(read(tmp_path, header + R8.tobytes() + further), R8)


@pytest.mark.parametrize("lost", [1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize(
    "header", [b"P5\r\n64 48\r\n255\r\n", b"P5 64 48 255\r\n", b"P5\n64 48\n255 # abcdefg\n"]
)
def test_a_cut_picture_is_not_shifted(tmp_path, header, lost):
    with pytest.raises(ImageError, match=r"truncated|is not clear"):
        read(tmp_path, (header + R8.tobytes())[:-lost])


@pytest.mark.parametrize(
    ("header", "further"),
    [
        (b"P5\n64 48\n255 \n", b""),
        (b"P5\n64 48\n255 \r\n", b""),
        (b"P5\n64 48\n255 # a comment\n", b"\n"),
        (b"P5\n64 48\n255x", b""),
    ],
)
def test_a_header_whose_end_is_not_clear(tmp_path, header, further):
    with pytest.raises(ImageError, match=r"is not clear|does not end in a blank"):
        read(tmp_path, header + R8.tobytes() + further)
