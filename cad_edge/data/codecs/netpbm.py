"""PBM, PGM and PPM: plain and binary, of any maximum up to 65535, as frame grabbers write them.

The maximum that a file states is white: 4095 makes 12 bits of it.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.orientation import UPRIGHT
from cad_edge.data.codecs.samples import Damaged, Samples

_BIT, _GREY = b"14", b"25"
_PLAIN = b"123"
_TOKEN = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])+([0-9]{1,9})")
_COMMENT = re.compile(rb"#[^\n\r]*")
_BLANK = re.compile(rb"\s")
_LINE = re.compile(rb"#[\t\x20-\x7e]*(?:\r\n|\n|\r)")
_SPACED_END = re.compile(rb"[ \t]+\r?\n")
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_AT_ONCE = 1 << 16  # bytes of digits


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

    def _bits(self) -> NDArray[Any]:
        stride = -(-self.width // 8)
        packed = self._body(stride * self.height, np.dtype(np.uint8)).reshape(self.height, stride)
        bits: NDArray[np.uint8] = np.unpackbits(packed, axis=1)[:, : self.width]
        return bits

    def _binary(self, count: int) -> NDArray[Any]:
        if self._white < 256:
            return self._body(count, np.dtype(np.uint8)).copy()
        return self._body(count, np.dtype(">u2")).astype(np.uint16)

    def _body(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.frombuffer(self._data, dtype, count, self._pixels(count * dtype.itemsize))

    def _pixels(self, length: int) -> int:
        """Find where the pixels begin, which is after one blank, and must not be found wrongly.

        Some writers end the line with two bytes, or write a comment after it; both can be pixels
        too. Two bytes are one blank unless the header has blanks of a return alone. A comment is
        what leaves just as many bytes as there are pixels.
        """
        data, begin = self._data, self._begin
        if comment := _LINE.match(data, begin):  # right behind the number
            begin = comment.end()
        elif data[begin : begin + 2] == b"\r\n" and not _LONE_RETURN.search(data, 0, begin):
            begin += 2
        elif _BLANK.match(data, begin):
            begin += 1
        elif begin < len(data):
            raise Damaged("it is damaged: its header does not end in a blank")
        left = len(data) - begin - length
        if left < 0:
            raise Damaged("it is truncated")
        after = begin
        while left and (comment := _LINE.match(data, after)):
            after = comment.end()
            if len(data) - after == length:
                return after
        if after > begin or (left and _SPACED_END.match(data, self._begin)):
            raise Damaged("it is damaged: where its header ends and its pixels begin is not clear")
        return begin

    def _plain(self, count: int) -> NDArray[Any]:
        """Read numbers that are written as digits."""
        text = _COMMENT.sub(b" ", self._data[self._begin :])
        if self._kind == b"1":  # digits may stand without blanks between them
            digits = np.frombuffer(text, np.uint8)
            values: NDArray[Any] = digits[(digits == ord("0")) | (digits == ord("1"))][
                :count
            ] - ord("0")
            filled = len(values)
        else:
            values = np.zeros(count, np.uint8 if self._white < 256 else np.uint16)
            filled = 0
            for words in _words(text):
                if filled >= count:
                    break
                numbers = np.array(words[: count - filled]).astype(np.int64)
                if numbers.size and not 0 <= numbers.min() <= numbers.max() <= self._white:
                    raise Damaged(f"it is damaged: its values are not within 0 and {self._white}")
                values[filled : filled + len(numbers)] = numbers
                filled += len(numbers)
        if filled < count:
            raise Damaged("it is truncated")
        return values


def _words(text: bytes) -> Iterator[list[bytes]]:
    """Split at blanks, a part of the text at a time."""
    begin = 0
    while begin < len(text):
        blank = _BLANK.search(text, begin + _AT_ONCE)
        end = blank.start() if blank else len(text)
        yield text[begin:end].split()
        begin = end
