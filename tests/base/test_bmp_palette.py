"""BMP of 1, 4 and 8 bits: every index becomes its colour in the palette, whatever the palette."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.image import decode_image
from cad_edge.errors import ImageError
from tests.base.picture_files import packed

HEIGHT, WIDTH = 21, 37  # rows are filled up in every depth
PALETTES = {
    "grey steps": lambda count: np.repeat(np.arange(count)[:, None], 3, axis=1),
    "black to white": lambda count: np.repeat(
        np.linspace(0, 255, count).astype(int)[:, None], 3, axis=1
    ),
    "white to black": lambda count: np.repeat(
        np.linspace(255, 0, count).astype(int)[:, None], 3, axis=1
    ),
    "colours": lambda count: np.arange(3 * count).reshape(count, 3) * 5 % 256,
}


def indexed(indices: np.ndarray, bits: int, palette: np.ndarray, **header: int) -> bytes:
    """Write indices, (h, w), bottom-up; ``colours`` is the number that the header states."""
    rows = packed(indices[::-1], bits, "<")
    stride = -(-indices.shape[1] * bits // 32) * 4
    single = np.frombuffer(rows, np.uint8).reshape(len(indices), -1)
    body = np.pad(single, ((0, 0), (0, stride - single.shape[1]))).tobytes()
    return written(body, indices.shape, bits, palette, **header)


def written(
    body: bytes,
    shape: tuple[int, int],
    bits: int,
    palette: np.ndarray,
    colours: int | None = None,
    compression: int = 0,
) -> bytes:
    table = b"".join(bytes([*colour[::-1], 0]) for colour in palette.tolist())
    stated = len(palette) if colours is None else colours
    header = struct.pack(
        "<IiiHHIIiiII", 40, shape[1], shape[0], 1, bits, compression, len(body), 0, 0, stated, 0
    )
    begin = 54 + len(table)
    return struct.pack("<2sIHHI", b"BM", begin + len(body), 0, 0, begin) + header + table + body


def read(tmp_path: Path, content: bytes) -> np.ndarray:
    path = tmp_path / "a.bmp"
    path.write_bytes(content)
    return decode_image(path)


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("count", [1, 2, 3, 16, 255, 256])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_each_index_is_its_colour(tmp_path, rng, bits, count, palette):
    count = min(count, 1 << bits)
    colours = PALETTES[palette](count)
    indices = rng.integers(0, count, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(read(tmp_path, indexed(indices, bits, colours)), colours[indices])
    whole = np.pad(colours, ((0, (1 << bits) - count), (0, 0)))
    content = indexed(indices, bits, whole, colours=0)  # 0 says as many as there can be
    np.testing.assert_array_equal(read(tmp_path, content), colours[indices])


@pytest.mark.parametrize("levels", [(0, 255), (255, 0), (0, 128), (10, 12)])
def test_a_mask_of_two_greys_as_pillow_writes_it(tmp_path, rng, levels):
    indices = rng.integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette([levels[0]] * 3 + [levels[1]] * 3)
    image.save(tmp_path / "a.bmp")
    frame = decode_image(tmp_path / "a.bmp")
    np.testing.assert_array_equal(frame[..., 0], np.array(levels)[indices])


def test_an_index_without_a_colour(tmp_path):
    indices = np.full((HEIGHT, WIDTH), 3)
    with pytest.raises(ImageError, match="it holds colours beyond the 3 of its palette"):
        read(tmp_path, indexed(indices, 8, PALETTES["colours"](3)))


def cells(shape: tuple[int, int], *areas: tuple[int, int, list[int]]) -> np.ndarray:
    """Indices of 0 but for some, of which row, first column and values are given."""
    result = np.zeros(shape, int)
    for row, column, values in areas:
        result[row, column : column + len(values)] = values
    return result


ENDS = b"\0\1"
RUNS = {
    "runs and ends of lines": (
        8,
        bytes([9, 7, 0, 0, 3, 5]) + ENDS,
        [(11, 0, [7] * 9), (10, 0, [5] * 3)],
    ),
    "a jump": (
        8,
        bytes([4, 7, 0, 2, 3, 2, 2, 9]) + ENDS,
        [(11, 0, [7] * 4), (9, 7, [9] * 2)],
    ),
    "a jump to the last rows": (8, bytes([0, 2, 1, 11, 2, 9]) + ENDS, [(0, 1, [9] * 2)]),
    "single indices, odd and even": (
        8,
        bytes([0, 3, 1, 2, 3, 0, 0, 4, 4, 5, 6, 7]) + ENDS,
        [(11, 0, [1, 2, 3, 4, 5, 6, 7])],
    ),
    "runs of two indices": (4, bytes([5, 0x12, 0, 0, 2, 0x30]) + ENDS, [
        (11, 0, [1, 2, 1, 2, 1]), (10, 0, [3, 0]),
    ]),
    "single indices of four bits": (
        4,
        bytes([0, 5, 0x12, 0x34, 0x50, 0, 0, 3, 0x67, 0x80]) + ENDS,
        [(11, 0, [1, 2, 3, 4, 5, 6, 7, 8])],
    ),
    "nothing": (8, ENDS, []),
}  # fmt: skip


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("case", RUNS)
def test_run_lengths(tmp_path, case, palette):
    bits, body, areas = RUNS[case]
    colours = PALETTES[palette](16)
    content = written(body, (12, 20), bits, colours, compression=1 if bits == 8 else 2)
    np.testing.assert_array_equal(read(tmp_path, content), colours[cells((12, 20), *areas)])
    for length in range(1, len(body)):
        with pytest.raises(ImageError, match="it is truncated"):
            read(tmp_path, content[:-length])


@pytest.mark.parametrize("body", [b"\x15\1", b"\0\2\x13\0\2\1", b"\0\2\0\x0c\1\1"])
def test_runs_that_leave_the_picture(tmp_path, body):
    content = written(body + ENDS, (12, 20), 8, PALETTES["colours"](16), compression=1)
    with pytest.raises(ImageError, match="its runs leave the picture"):
        read(tmp_path, content)


def test_run_lengths_of_another_depth(tmp_path):
    with pytest.raises(ImageError, match="BMP of 4 bits in the compression 1"):
        read(tmp_path, written(ENDS, (12, 20), 4, PALETTES["colours"](16), compression=1))
