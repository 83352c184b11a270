"""BMP of 1, 4 and 8 bits: indices of colours, plain or run-length encoded, and their palette.

Pillow takes a grey palette for brightness whatever the depth of the indices, and knows nothing of
run lengths that skip the rest of the picture.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile

from cad_edge.data.codecs.samples import Damaged, Samples, Unsupported, strips

_PLAIN, _RUNS = 0, {8: 1, 4: 2}  # compression; that of run lengths by depth
_OLD_HEADER = 12  # bytes of the header of OS/2, whose palette has no fourth byte
_LINE_ENDS, _ENDS, _SKIPS = 0, 1, 2  # what a run of no pixels says


@dataclass(frozen=True)
class Layout:
    """Where the palette and the indices of a BMP file lie, and how they are stored."""

    width: int
    height: int
    bits: int
    compression: int
    header: int
    """Bytes of the header, after which the palette begins."""
    begin: int
    """Where the indices begin."""
    top_down: bool


def read_layout(file: BinaryIO, image: BmpImageFile) -> Layout | None:
    """Read how a file stores indices whose header Pillow has accepted; None where it has none."""
    file.seek(14)
    start = file.read(20)
    (header,) = struct.unpack_from("<I", start)
    if header == _OLD_HEADER:
        bits, compression = *struct.unpack_from("<H", start, 10), _PLAIN
    else:
        bits, compression = struct.unpack_from("<HI", start, 14)
    if bits > 8:
        return None
    tile = image.tile[0]
    top_down = isinstance(tile.args, tuple) and tile.args[-1] == 1
    return Layout(image.width, image.height, bits, compression, header, tile.offset, top_down)


def decode_palette(file: BinaryIO, layout: Layout) -> Samples:
    """Decode a BMP of indices.

    Returns
    -------
    (h, w) uint8 where all colours are grey, else (h, w, 3).

    Raises
    ------
    Damaged
        Data is missing, runs leave the picture, or an index is not in the palette.
    Unsupported
        The compression is neither none nor that of run lengths.
    """
    bits = layout.bits
    table = _table(file, layout)
    file.seek(layout.begin)
    if layout.compression == _PLAIN:
        rows = _plain(file, layout)
    elif layout.compression == _RUNS.get(bits):
        rows, bits = _unrolled(file, layout), 8
    else:
        raise Unsupported(f"BMP of {bits} bits in the compression {layout.compression}")
    if not layout.top_down:
        rows = rows[::-1]
    result = np.empty((layout.height, layout.width, *table.shape[1:]), np.uint8)
    for part in strips(layout.height, layout.width):
        indices = _unpacked(rows[part], bits, layout.width)
        if int(indices.max()) >= len(table):
            raise Damaged(f"it is damaged: it holds colours beyond the {len(table)} of its palette")
        result[part] = table[indices]
    return Samples(result)


def _table(file: BinaryIO, layout: Layout) -> NDArray[np.uint8]:
    """Read the colours: (n,) of grey or (n, 3).

    As many as there is room for before the pixels: the number in the header is often wrong.
    """
    each = 3 if layout.header == _OLD_HEADER else 4
    count = min((layout.begin - 14 - layout.header) // each, 1 << layout.bits)
    if count < 1:
        raise Damaged("it is damaged: it has no palette")
    file.seek(14 + layout.header)
    table = np.frombuffer(_read(file, count * each), np.uint8).reshape(count, each)[:, 2::-1]
    grey = (table == table[:, :1]).all()
    return np.ascontiguousarray(table[:, 0] if grey else table)


def _read(file: BinaryIO, length: int) -> bytes:
    found = file.read(length)
    if len(found) < length:
        raise Damaged("it is truncated")
    return found


def _plain(file: BinaryIO, layout: Layout) -> NDArray[np.uint8]:
    """Read rows as they lie in the file, which may lack what fills the last one up."""
    used = -(-layout.width * layout.bits // 8)
    stride = -(-used // 4) * 4
    data = _read(file, stride * (layout.height - 1) + used) + file.read(stride - used)
    data = data.ljust(stride * layout.height, b"\0")
    return np.frombuffer(data, np.uint8).reshape(layout.height, stride)


def _unpacked(rows: NDArray[np.uint8], bits: int, width: int) -> NDArray[np.uint8]:
    if bits == 8:
        return rows[:, :width]
    if bits == 1:
        return np.unpackbits(rows, axis=1)[:, :width]
    return np.stack([rows >> 4, rows & 15], axis=2).reshape(len(rows), -1)[:, :width]


def _unrolled(file: BinaryIO, layout: Layout) -> NDArray[np.uint8]:
    """Read run lengths; pixels that they skip have the first colour."""
    width, height = layout.width, layout.height
    cells = bytearray(width * height)
    # Runs of one pixel, and a jump before each, take no more.
    data = file.read(8 * (width + 1) * height + 1024)
    for row, column, run in _runs(data, layout):
        if not run:
            continue
        # Four bits come in pairs, so that the last of a row may be one too many.
        if row >= height or column + len(run) > width + (layout.bits == 4):
            raise Damaged("it is damaged: its runs leave the picture")
        begin, run = row * width + column, run[: max(width - column, 0)]
        cells[begin : begin + len(run)] = run
    return np.frombuffer(cells, np.uint8).reshape(height, width)


def _runs(data: bytes, layout: Layout) -> Iterator[tuple[int, int, bytes]]:
    """Row, column and indices of each run, up to the end that the file states.

    A file whose last row is full may lack the end.
    """
    place = column = row = 0
    while place + 2 <= len(data):
        count, value = data[place], data[place + 1]
        place += 2
        run = b""
        if count:
            run = _repeated(value, count, layout.bits)
        elif value == _LINE_ENDS:
            column, row = 0, row + 1
        elif value == _ENDS:
            return
        elif value == _SKIPS and place + 2 <= len(data):
            column, row = column + data[place], row + data[place + 1]
            place += 2
        else:
            length = -(-value * layout.bits // 8)
            run = _literal(data[place : place + length], value, layout.bits)
            place += length + length % 2
        yield row, column, run
        column += len(run)
    if (row, column) < (layout.height - 1, layout.width):
        raise Damaged("it is truncated")


def _repeated(value: int, count: int, bits: int) -> bytes:
    if bits == 8:
        return bytes([value]) * count
    return (bytes([value >> 4, value & 15]) * -(-count // 2))[:count]


def _literal(data: bytes, count: int, bits: int) -> bytes:
    run = data
    if bits == 4:
        run = bytes(half for byte in data for half in (byte >> 4, byte & 15))[:count]
    if len(run) < count:
        raise Damaged("it is truncated")
    return run
