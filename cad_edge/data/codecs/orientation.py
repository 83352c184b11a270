"""Orientation: how a picture lies in its file, by EXIF or else by XMP.

EXIF that cannot be read is no reason to refuse a picture: it then counts as upright.
"""

import re
import struct
import zlib

UPRIGHT = 1
_TAG = 274
_SIZES = {1: "B", 3: "H", 4: "I"}  # the types of a small number
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_LONGEST_TEXT = 1 << 20


def orientation(exif: bytes | None, xmp: bytes | None = None) -> int:
    """Read the orientation.

    Parameters
    ----------
    exif
        A TIFF header and its directories, with or without "Exif" and two zeros before them.
    xmp
        Asked where EXIF holds no orientation.

    Returns
    -------
    1 to 8; 1 where there is none, or none that can be read.
    """
    found = None
    if exif:
        try:
            found = _in_exif(exif.removeprefix(b"Exif\0\0"))
        except struct.error:  # it ends before it should
            found = None
    if found is None and xmp:
        match = _XMP.search(xmp)
        found = int(match[1]) if match else None
    return valid(found)


def valid(number: object) -> int:
    """Return an orientation of 1 to 8 as it is, and 1 for anything else."""
    return number if isinstance(number, int) and 1 <= number <= 8 else UPRIGHT


def _in_exif(data: bytes) -> int | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or struct.unpack_from(order + "H", data, 2) != (42,):
        return None
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, directory)
    for place in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, place)
        if tag == _TAG:
            if count != 1 or kind not in _SIZES:
                return None
            (value,) = struct.unpack_from(order + _SIZES[kind], data, place + 8)
            return int(value)
    return None


def exif_of_text(text: bytes) -> bytes | None:
    """Read EXIF that ImageMagick wrote as hexadecimal text, after a name and a length."""
    lines = text.split(b"\n")[3:]
    try:
        return bytes.fromhex(b"".join(lines).decode("ascii"))
    except ValueError:
        return None


def inflated(data: bytes) -> bytes:
    """Inflate a PNG's compressed text as far as it goes, up to 1 MiB."""
    try:
        return zlib.decompressobj().decompress(data, _LONGEST_TEXT)
    except zlib.error:
        return b""
