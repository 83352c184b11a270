"""PBM, PGM and PPM: plain and binary, of any maximum up to 65535, as frame grabbers write them.

The maximum that a file states is white: 4095 makes 12 bits of it.
"""

import re

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.orientation import UPRIGHT
from cad_edge.data.codecs.samples import Damaged, Samples

_BIT, _GREY = b"14", b"25"
_PLAIN = b"123"
_TOKEN = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])+([0-9]{1,9})")
_COMMENT = re.compile(rb"#[^\n\r]*")


class NetpbmFile:
    """A PBM, PGM or PPM file in memory."""

    orientation = UPRIGHT

    def __init__(self, data: bytes) -> None:
        self._data, self._kind = data, data[1:2]
        numbers, place = [], 2
        for _ in range(2 if self._kind in _BIT else 3):
            found = _TOKEN.match(data, place)
            if found is None:
                raise Damaged("it is truncated, damaged or no image")
            numbers.append(int(found[1]))
            place = found.end()
        self.width, self.height, *rest = numbers
        self._white = rest[0] if rest else 1
        self._begin = place
        if not 1 <= self._white <= 65535:
            raise Damaged(f"it is damaged: its maximum is {self._white}")

    def decode(self) -> Samples:
        """Decode all of it; what follows the first picture is passed over."""
        channels = 1 if self._kind in _BIT + _GREY else 3
        if self._kind == b"4":
            values = self._bits()
        else:
            count = self.width * self.height * channels
            values = self._plain(count) if self._kind in _PLAIN else self._binary(count)
        if self._kind in _BIT:
            values = 1 - values  # 1 is black
        if values.max(initial=0) > self._white:
            raise Damaged(f"it is damaged: it holds values above its maximum of {self._white}")
        shape = (self.height, self.width) if channels == 1 else (self.height, self.width, 3)
        return Samples(values.reshape(shape), self._white)

    def _bits(self) -> NDArray[np.uint8]:
        stride = -(-self.width // 8)
        packed = self._body(stride * self.height, np.dtype(np.uint8)).reshape(self.height, stride)
        return np.unpackbits(packed, axis=1)[:, : self.width]

    def _binary(self, count: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
        if self._white < 256:
            return self._body(count, np.dtype(np.uint8)).copy()
        return self._body(count, np.dtype(">u2")).astype(np.uint16)

    def _body(self, count: int, dtype: np.dtype[np.uint8] | np.dtype[np.uint16]) -> NDArray[np.uint8]:
        begin = self._begin + 1  # after one blank
        if begin + count * dtype.itemsize > len(self._data):
            raise Damaged("it is truncated")
        return np.frombuffer(self._data, dtype, count, begin)  # type: ignore[return-value]

    def _plain(self, count: int) -> NDArray[np.uint16] | NDArray[np.uint8]:
        text = _COMMENT.sub(b" ", self._data[self._begin :])
        if self._kind == b"1":  # digits may stand without blanks between them
            found = [byte - 48 for byte in text if byte in b"01"][:count]
        else:
            found = []
            try:
                found = [int(word) for word in text.split(maxsplit=count)[:count]]
            except ValueError:
                raise Damaged("it is damaged: it holds what is no number") from None
        if len(found) < count:
            raise Damaged("it is truncated")
        if max(found) > self._white:
            raise Damaged(f"it is damaged: it holds values above its maximum of {self._white}")
        return np.array(found, np.uint8 if self._white < 256 else np.uint16)
