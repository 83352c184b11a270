"""PNG: all its colour types and depths; of an animation the default image.

The pixels are decoded by libpng, which refuses lost rows, wrong checksums and broken streams.
"""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.orientation import exif_of_text, inflated, orientation
from cad_edge.data.codecs.png_passes import deinterlaced
from cad_edge.data.codecs.samples import Damaged, Samples

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""The chunks that pixels need; the decoder is not shown others, and so cannot stumble over them."""

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits that each colour type may have."""

_INTERLACE = 28  # where the header says so
_EXIF_TEXT = b"Raw profile type exif"
_XMP_TEXT = b"XML:com.adobe.xmp"


class PngFile:
    """A PNG file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        if data[12:16] != b"IHDR" or len(data) < 33:
            raise Damaged("it is truncated, damaged or no image")
        self.width, self.height, *kind = struct.unpack_from(">IIBBBBB", data, 16)
        if kind[0] not in _DEPTHS.get(kind[1], ()) or kind[2:4] != [0, 0] or kind[4] > 1:
            raise Damaged("it is damaged: its header holds what PNG has not")
        self._exif: bytes | None = None
        self._xmp: bytes | None = None
        self._chunks = self._walk()
        self.orientation = orientation(self._exif, self._xmp)

    def _walk(self) -> list[tuple[int, int]]:
        """Find where each chunk that pixels need begins and ends, and read the orientation.

        A chunk whose checksum is wrong is damage, whatever it holds; one that holds nonsense with
        a right checksum is only passed over.
        """
        needed = []
        data, place = memoryview(self._data), len(SIGNATURE)
        while place + 8 <= len(data):
            length, kind = struct.unpack_from(">I4s", data, place)
            end = place + 12 + length
            if kind in _PIXELS:
                needed.append((place, end))
            elif end <= len(data):
                body = data[place + 8 : end - 4]
                if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
                    raise Damaged("it is damaged: a chunk's checksum is wrong")
                self._note(kind, body)
            if kind == b"IEND":
                break
            place = end
        return needed

    def _note(self, kind: bytes, body: memoryview) -> None:
        """Keep EXIF and XMP."""
        if kind == b"eXIf":
            self._exif = bytes(body)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            key, _, text = bytes(body[: 1 << 20]).partition(b"\0")
            if key == _EXIF_TEXT and self._exif is None:
                # zTXt has a byte for the method before the data.
                self._exif = exif_of_text(inflated(text[1:]) if kind == b"zTXt" else text)
            elif key == _XMP_TEXT and kind == b"iTXt":
                packed, (_, _, content) = text[:1] == b"\1", text[2:].partition(b"\0")
                content = content.partition(b"\0")[2]
                self._xmp = inflated(content) if packed else content

    def decode(self) -> Samples:
        """Decode all of it; grey with alpha becomes RGBA."""
        pixels = self._needed()
        self._data = b""  # two copies of a file are one too many
        values = deinterlaced(pixels, _read) if pixels[_INTERLACE] else _read(pixels)
        if values.ndim == 3 and values.shape[2] == 2:
            values = np.concatenate([*[values[..., :1]] * 3, values[..., 1:]], axis=2)
        return Samples(values, 255 if values.itemsize == 1 else 65535)

    def _needed(self) -> bytes:
        view = memoryview(self._data)
        return b"".join([SIGNATURE, *(view[first:end] for first, end in self._chunks)])


def _read(pixels: bytes) -> NDArray[Any]:
    from imagecodecs import PngError, png_decode

    try:
        values: NDArray[Any] = png_decode(pixels)
    except PngError as problem:
        if "memory" in str(problem).lower():
            raise MemoryError from None
        raise Damaged("it is truncated or damaged: pixels are missing or wrong") from None
    return values
