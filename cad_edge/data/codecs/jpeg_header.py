"""The header of a JPEG file: its segments up to the first scan."""

import struct

from cad_edge.data.codecs.orientation import orientation
from cad_edge.data.codecs.samples import Damaged

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a segment
_SCAN, _END, _RESTART, _APP1, _APP14 = 0xDA, 0xD9, 0xDD, 0xE1, 0xEE
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


class JpegHeader:
    """What the segments before the first scan say."""

    def __init__(self, data: bytes) -> None:
        self.width = self.height = self.bits = self.coding = 0
        self.components = 0
        """1 for grey, 3 for colour, 4 for CMYK."""

        self.sampling: dict[int, tuple[int, int]] = {}
        """Of each component its horizontal and vertical factor."""

        self.restart_interval = 0
        self.adobe: int | None = None
        """The colour transform of an Adobe segment."""

        self._exif: bytes | None = None
        self._xmp: bytes | None = None
        try:
            self.first_scan = self._walk(data)
        except (struct.error, IndexError):
            raise Damaged("it is truncated, damaged or no image") from None
        self.orientation = orientation(self._exif, self._xmp)

    def _walk(self, data: bytes) -> int:
        """Read the segments and return where the marker of the first scan begins."""
        place = 2
        while True:
            place = data.find(b"\xff", place)
            if place < 0:
                raise IndexError
            marker = data[place + 1]
            if marker in (0x00, 0xFF):  # filling
                place += 1
            elif marker in _ALONE:
                place += 2
            elif marker == _END or (marker == _SCAN and not self.sampling):
                raise IndexError
            elif marker == _SCAN:
                return place
            else:
                (length,) = struct.unpack_from(">H", data, place + 2)
                self._note(marker, data[place + 4 : place + 2 + length])
                place += 2 + length

    def _note(self, marker: int, body: bytes) -> None:
        if marker in _FRAMES and not self.sampling:
            self.coding = marker
            self.bits, self.height, self.width, count = struct.unpack_from(">BHHB", body)
            self.components = count
            self.sampling = {
                body[at]: (body[at + 1] >> 4, body[at + 1] & 15)
                for at in range(6, 6 + 3 * count, 3)
            }
        elif marker == _RESTART:
            (self.restart_interval,) = struct.unpack_from(">H", body)
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            self.adobe = body[11]
        elif marker == _APP1 and body.startswith(_EXIF) and self._exif is None:
            self._exif = body
        elif marker == _APP1 and body.startswith(_XMP) and self._xmp is None:
            self._xmp = body[len(_XMP) :]
