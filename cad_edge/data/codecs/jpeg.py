"""JPEG: grey, colour and CMYK of 8 and 12 bits, sequential and progressive.

libjpeg goes on with grey where data is missing and says so by a warning at most. A picture of which
a part was lost must not get a verdict, so every file is decoded by a reader that takes warnings
seriously (simplejpeg), and by two readings (`scans`) where that one does not help.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.jpeg_header import JpegHeader
from cad_edge.data.codecs.jpeg_scans import complete, require_all_scans
from cad_edge.data.codecs.samples import Damaged, Samples, Unsupported

_SEQUENTIAL_AND_PROGRESSIVE = (0xC0, 0xC1, 0xC2)
_ARITHMETIC = (0xC9, 0xCA)
_COLOURS = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_LOST = re.compile("corrupt|premature|invalid progressive|huffman", re.IGNORECASE)
_SURPLUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_FEW = 16  # bytes that a writer may leave over at the end, whatever they are


class JpegFile:
    """A JPEG file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._header = JpegHeader(data)
        self.width, self.height = self._header.width, self._header.height
        self.orientation = self._header.orientation

    def decode(self) -> Samples:
        """Decode all of it; CMYK becomes RGB by Pillow's conversion."""
        header = self._header
        _require_known(header)
        require_all_scans(self._data, header)
        values = _strictly_read(self._data, header) if header.bits == 8 else None
        if values is None:
            values = _read_twice(self._data, header)
        if header.components == 4:
            values = _rgb_of_cmyk(values, inverted=header.adobe is not None)
        return Samples(values, (1 << header.bits) - 1)


def _require_known(header: JpegHeader) -> None:
    if header.coding not in _SEQUENTIAL_AND_PROGRESSIVE + _ARITHMETIC:
        raise Unsupported("a lossless or hierarchical JPEG coding")
    if header.components not in _COLOURS:
        raise Unsupported(f"JPEG of {header.components} components")
    if header.bits not in (8, 12) or (header.bits == 12 and header.components == 4):
        raise Unsupported(f"JPEG of {header.bits} bits and {header.components} components")


def _strictly_read(data: bytes, header: JpegHeader) -> NDArray[np.uint8] | None:
    """Decode by simplejpeg; None where it does not do or is unsure."""
    try:
        import simplejpeg
    except ImportError:
        return None
    untyped: Any = simplejpeg
    try:
        values: NDArray[np.uint8] = untyped.decode_jpeg(data, _COLOURS[header.components])
    except ValueError as problem:
        said = str(problem)
        if "memory" in said.lower():
            raise MemoryError from None
        surplus = _SURPLUS.search(said)
        if surplus and _is_padding(data, int(surplus[1])):
            return None
        if _LOST.search(said):
            raise Damaged("it is incomplete or damaged: JPEG data is missing or wrong") from None
        return None  # an unusual subsampling, or a note in a segment that pixels do not need
    return values[..., 0] if header.components == 1 else values


def _is_padding(data: bytes, count: int) -> bool:
    """Whether ``count`` bytes before the end of the image are what cameras fill up with."""
    end = data.rfind(b"\xff\xd9")
    return count <= _FEW or len(set(data[max(end - count, 0) : end])) <= 1


def _read_twice(data: bytes, header: JpegHeader) -> NDArray[Any]:
    """Decode by imagecodecs, and prove that nothing is missing."""
    from imagecodecs import Jpeg8Error, jpeg8_decode

    def read(stream: bytes) -> NDArray[Any]:
        try:
            decoded: NDArray[Any] = jpeg8_decode(stream)
        except Jpeg8Error as problem:
            if "memory" in str(problem).lower():
                raise MemoryError from None
            raise Damaged("it is truncated or damaged") from None
        return decoded

    values = read(data)
    if not complete(data, header, read, values):
        raise Damaged("it is incomplete: JPEG data is missing")
    return values


def _rgb_of_cmyk(values: NDArray[np.uint8], inverted: bool) -> NDArray[np.uint8]:
    """Convert (h, w, 4); Adobe's files hold 255 for no ink."""
    from PIL import Image

    ink = 255 - values if inverted else values
    return np.array(
        Image.frombytes("CMYK", (ink.shape[1], ink.shape[0]), ink.tobytes()).convert("RGB")
    )
