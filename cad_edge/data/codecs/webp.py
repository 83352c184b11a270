"""WebP: lossy and lossless, with and without alpha; of an animation the first frame."""

import io
import struct
from collections.abc import Iterator

from cad_edge.data.codecs.bmp import pixels_of
from cad_edge.data.codecs.orientation import orientation
from cad_edge.data.codecs.samples import Damaged, Samples

_ANIMATED = 0x02
_MAXIMUM = 0x3FFF  # 14 bits of a side
_FRAME_HEADER = 16  # bytes before the chunks of a frame


def is_lossless(data: bytes) -> bool:
    """Whether the pixels of a WebP file are stored without loss; of an animation the first."""
    for kind, body in _chunks(data, 12):
        if kind == b"ANMF":
            return any(inner == b"VP8L" for inner, _ in _chunks(body, _FRAME_HEADER))
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8L"
    return False


def _chunks(data: bytes, place: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and contents of each chunk from a place on."""
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


class WebpFile:
    """A WebP file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.width = self.height = 0
        self._animated = False
        exif: bytes | None = None
        xmp: bytes | None = None
        for kind, body in _chunks(data, 12):
            if not self.width:
                self._note_size(kind, body)
            if kind == b"EXIF":
                exif = body
            elif kind == b"XMP ":
                xmp = body
        if not self.width:
            raise Damaged("it is truncated, damaged or no image")
        self.orientation = orientation(exif, xmp)

    def _note_size(self, kind: bytes, body: bytes) -> None:
        if kind == b"VP8X" and len(body) >= 10:
            self._animated = bool(body[0] & _ANIMATED)
            self.width = 1 + int.from_bytes(body[4:7], "little")
            self.height = 1 + int.from_bytes(body[7:10], "little")
        elif kind == b"VP8 " and len(body) >= 10:
            self.width, self.height = (
                side & _MAXIMUM for side in struct.unpack_from("<HH", body, 6)
            )
        elif kind == b"VP8L" and len(body) >= 5:
            bits = int.from_bytes(body[1:5], "little")
            self.width, self.height = 1 + (bits & _MAXIMUM), 1 + (bits >> 14 & _MAXIMUM)

    def decode(self) -> Samples:
        """Decode all of it."""
        if self._animated:
            return self._first_frame()
        from imagecodecs import WebpError, webp_decode

        try:
            values = webp_decode(self._data)
        except WebpError as problem:
            if "memory" in str(problem).lower():
                raise MemoryError from None
            raise Damaged("it is truncated or damaged") from None
        if values.shape[:2] != (self.height, self.width):
            raise Damaged("it is damaged: its headers state several sizes")
        return Samples(values)

    def _first_frame(self) -> Samples:
        """Let Pillow draw the first frame on its canvas."""
        from PIL import WebPImagePlugin

        try:
            image = WebPImagePlugin.WebPImageFile(io.BytesIO(self._data))
            image.load()
        except (OSError, SyntaxError, EOFError):
            raise Damaged("it is truncated or damaged") from None
        return Samples(pixels_of(image, "RGBA" if image.mode == "RGBA" else "RGB"))
