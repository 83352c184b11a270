"""Interlaced PNG: the seven passes of Adam7, each decoded as a picture of its own.

imagecodecs decodes interlaced files, but writes a warning to stderr for each.
"""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.samples import Damaged

_PASSES = (  # first row, first column, and the distance of rows and of columns
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


def deinterlaced(data: bytes, read: Callable[[bytes], NDArray[Any]]) -> NDArray[Any]:
    """Decode an interlaced file.

    Parameters
    ----------
    data
        Signature, and the chunks that pixels need.
    read
        Decodes a file that is not interlaced.

    Returns
    -------
    (h, w) or (h, w, channels).

    Raises
    ------
    Damaged
        Pixels are missing or wrong.
    """
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    before, packed = _divided(data)
    depth = bits * _CHANNELS[colour]
    shapes = [
        (-(-(height - row) // down), -(-(width - column) // across))
        for row, column, down, across in _PASSES
    ]
    sizes = [rows * (1 + -(-columns * depth // 8)) * (columns > 0) for rows, columns in shapes]
    lines = _inflated(packed, sum(sizes))
    result: NDArray[Any] | None = None
    for place, shape, size in zip(_PASSES, shapes, sizes, strict=True):
        if size:
            part = read(_pass(data, before, shape, lines[:size]))
            if result is None:
                result = np.empty((height, width, *part.shape[2:]), part.dtype)
            row, column, down, across = place
            result[row::down, column::across] = part
            lines = lines[size:]
    if result is None:
        raise Damaged("it is damaged: it has no pixels")
    return result


def _pass(data: bytes, before: bytes, shape: tuple[int, int], lines: bytes) -> bytes:
    """Make a file of one pass, which is not interlaced."""
    header = struct.pack(">II", shape[1], shape[0]) + data[24:28] + b"\0"
    pixels = _chunk(b"IDAT", zlib.compress(lines, 1))
    return data[:8] + _chunk(b"IHDR", header) + before + pixels + _chunk(b"IEND", b"")


def _divided(data: bytes) -> tuple[bytes, bytes]:
    """Return the chunks between header and pixels, and the compressed pixels."""
    before, packed, place = [], [], 33
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        chunk = data[place:end]
        if kind == b"IDAT":
            if len(chunk) < 12 + length or zlib.crc32(chunk[4:-4]) != int.from_bytes(
                chunk[-4:], "big"
            ):
                raise Damaged("it is truncated or damaged: pixels are missing or wrong")
            packed.append(chunk[8:-4])
        elif kind != b"IEND":
            before.append(chunk)
        place = end
    return b"".join(before), b"".join(packed)


def _inflated(packed: bytes, size: int) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        lines = unpacking.decompress(packed, size)
        unpacking.decompress(unpacking.unconsumed_tail, 1)  # up to the checksum
    except zlib.error:
        lines = b""
    if len(lines) < size or not unpacking.eof:
        raise Damaged("it is truncated or damaged: pixels are missing or wrong")
    return lines


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
