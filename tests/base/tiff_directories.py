"""Changes to the directory of a TIFF file, as other writers make them."""

import struct


def entry(content: bytes, tag: int) -> int:
    """Where a tag's entry begins."""
    order = "<" if content[:2] == b"II" else ">"
    (begin,) = struct.unpack_from(order + "I", content, 4)
    (count,) = struct.unpack_from(order + "H", content, begin)
    places = range(begin + 2, begin + 2 + 12 * count, 12)
    return next(one for one in places if struct.unpack_from(order + "H", content, one) == (tag,))


def without(content: bytes, tag: int) -> bytes:
    """Take an entry out; those after it move up."""
    order = "<" if content[:2] == b"II" else ">"
    place = entry(content, tag)
    (begin,) = struct.unpack_from(order + "I", content, 4)
    (count,) = struct.unpack_from(order + "H", content, begin)
    last = begin + 2 + 12 * count
    fewer = struct.pack(order + "H", count - 1)
    rest = content[place + 12 : last] + bytes(12) + content[last:]
    return content[:begin] + fewer + content[begin + 2 : place] + rest


def with_length(content: bytes, length: int) -> bytes:
    """State another StripByteCounts of a single strip."""
    place = entry(content, 279)
    return content[: place + 8] + struct.pack("<I", length) + content[place + 12 :]
