"""Protobuf's wire format, as far as reading an ONNX file needs it; no schema, no copies.

A message is a run of fields; a field is a key (number << 3 | wire type) and a value. Groups (wire
types 3 and 4) were never used by ONNX and are refused.
"""

import mmap
from collections.abc import Iterator

Buffer = bytes | mmap.mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}


class WireError(ValueError):
    """Bytes that are not a protobuf message; the message ends a sentence."""


def varint(data: Buffer, position: int, end: int) -> tuple[int, int]:
    """Unsigned value at ``position`` and the position after it."""
    if position < end and data[position] < 0x80:
        return data[position], position + 1
    value = shift = 0
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift >= 70:
            raise WireError(f"a number at byte {position} has no end")
    raise WireError(f"it breaks off at byte {end}")


def fields(data: Buffer, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Fields of the message between two positions.

    Yields
    ------
    (number, wire, start, stop)
        For VARINT ``start`` is the value itself; otherwise the value lies in ``start:stop``.
    """
    while position < end:
        key = data[position]
        if key & 0x87 == BYTES and key >= 8:  # nearly every field: a key of one byte
            wire, start = BYTES, position + 2
            size = data[position + 1]
            if size >= 0x80:
                size, start = varint(data, position + 1, end)
            stop = start + size
        else:
            key, start = varint(data, position, end)
            wire = key & 7
            if not 8 <= key < 1 << 32:  # other readers drop the higher bits
                raise WireError(f"the field at byte {position} has an impossible number")
            if wire == VARINT:
                value, position = varint(data, start, end)
                yield key >> 3, VARINT, value, position
                continue
            if wire == BYTES:
                size, start = varint(data, start, end)
            elif wire in _FIXED:
                size = _FIXED[wire]
            else:
                raise WireError(f"the field at byte {position} is of the unknown kind {wire}")
            stop = start + size
        if stop > end:
            raise WireError(f"the field at byte {position} runs {stop - end} bytes past its end")
        yield key >> 3, wire, start, stop
        position = stop


def signed(value: int) -> int:
    """Read an unsigned 64-bit value as int64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(data: Buffer, start: int, stop: int, limit: int = 4096) -> str:
    """UTF-8 string between two positions."""
    if stop - start > limit:
        raise WireError(f"a name at byte {start} is {stop - start} bytes long")
    try:
        return data[start:stop].decode()
    except UnicodeDecodeError:
        raise WireError(f"the name at byte {start} is not UTF-8") from None


def integers(data: Buffer, wire: int, start: int, stop: int) -> list[int]:
    """Values of a repeated int64 field, one or packed."""
    if wire == VARINT:
        return [signed(start)]
    values = []
    while start < stop:
        value, start = varint(data, start, stop)
        values.append(signed(value))
    return values
