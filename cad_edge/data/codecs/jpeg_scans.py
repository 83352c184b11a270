"""The scans of a JPEG file: whether all are there, and whether each has all of its data.

A decoder reads exactly as many blocks as a scan must have, from the data before the next marker.
Data that is put in before the marker is never looked at if the scan is complete, and changes the
picture if it is not: two readings that agree prove that nothing is missing.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.jpeg_header import JpegHeader
from cad_edge.data.codecs.samples import Damaged

_PROGRESSIVE, _ARITHMETIC = (0xC2, 0xCA), (0xC9, 0xCA)
_SCAN, _END, _RESTART_INTERVAL = 0xDA, 0xD9, 0xDD
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# A decoder that runs out of data goes on with zeros. Codes that begin with ones are the longest, of
# the largest coefficients, and none is all ones: what follows shows in the picture.
_PAD = b"\xfe" * 32 + bytes(np.random.default_rng(0).integers(0, 255, 480, dtype=np.uint8))


@dataclass(frozen=True)
class _Scan:
    """One scan."""

    components: tuple[int, ...]
    first: int
    """First and last coefficient."""

    last: int
    low: int
    """How many bits this scan leaves to later ones."""

    begin: int
    """Where its data begins, and the marker after it."""

    end: int
    restart_interval: int


def _scans(data: bytes, header: JpegHeader) -> Iterator[_Scan]:
    """Walk through all scans of the first image.

    Raises
    ------
    Damaged
        The file ends before the image does.
    """
    place, interval = header.first_scan, header.restart_interval
    try:
        while data[place + 1] != _END:
            marker, (length,) = data[place + 1], struct.unpack_from(">H", data, place + 2)
            begin = end = place + 2 + length
            if marker == _RESTART_INTERVAL:
                (interval,) = struct.unpack_from(">H", data, place + 4)
            found = _MARKER.search(data, begin)
            if found is None:
                raise Damaged("it is truncated: the JPEG data ends early")
            end = found.start()
            if marker == _SCAN:
                count = data[place + 4]
                first, last, bits = data[place + 5 + 2 * count : place + 8 + 2 * count]
                ids = tuple(data[place + 5 : place + 5 + 2 * count : 2])
                yield _Scan(ids, first, last, bits & 15, begin, end, interval)
            place = end
    except (IndexError, ValueError, struct.error):
        raise Damaged("it is truncated or damaged: a JPEG scan has no header") from None


def require_all_scans(data: bytes, header: JpegHeader) -> None:
    """Raise Damaged where a component, or bits of a coefficient, come in no scan.

    A file of one scan is not walked through: what it lacks shows when it is decoded.
    """
    at = header.first_scan
    progressive = header.coding in _PROGRESSIVE
    if not progressive and data[at + 4 : at + 5] == bytes([header.components]):
        return
    missing = {
        (component, coefficient)
        for component in header.sampling
        for coefficient in range(64 if progressive else 1)
    }
    for scan in _scans(data, header):
        if scan.low == 0 or not progressive:
            last = scan.last if progressive else 0
            missing.difference_update(
                (component, coefficient)
                for component in scan.components
                for coefficient in range(scan.first, last + 1)
            )
    if missing:
        raise Damaged("it is incomplete: a JPEG scan is missing")


def complete(
    data: bytes,
    header: JpegHeader,
    read: Callable[[bytes], NDArray[Any]],
    values: NDArray[Any],
) -> bool:
    """Whether every scan has all of its data.

    Parameters
    ----------
    data, header
        The file.
    read
        Decodes a file, without a word about what is missing.
    values
        ``read(data)``.
    """
    pieces: list[bytes] = []
    place = 0
    for scan in _scans(data, header):
        body = data[scan.begin : scan.end]
        if not _restarts_are_right(body, scan, header):
            return False
        padded = _RESTART.sub(lambda found: _PAD + found[0], body) + _PAD
        pieces += [data[place : scan.begin], padded]
        place = scan.end
    if header.coding in _ARITHMETIC:
        return True  # such data may end early: a decoder adds as many zeros as it needs
    return np.array_equal(values, read(b"".join([*pieces, data[place:]])))


def _restarts_are_right(body: bytes, scan: _Scan, header: JpegHeader) -> bool:
    """Whether the restart markers of a scan are as many as there must be, and in their order."""
    numbers = [found[0][1] & 7 for found in _RESTART.finditer(body)]
    if not scan.restart_interval:
        return not numbers
    wanted = -(-_units(scan, header) // scan.restart_interval) - 1
    return numbers == [number % 8 for number in range(wanted)]


def _units(scan: _Scan, header: JpegHeader) -> int:
    """Count what the restart interval counts: blocks of one component, or groups of several."""
    across = max(factors[0] for factors in header.sampling.values())
    down = max(factors[1] for factors in header.sampling.values())
    if len(scan.components) > 1:
        return -(-header.width // (8 * across)) * -(-header.height // (8 * down))
    one = header.sampling.get(scan.components[0], (1, 1))
    width = -(-header.width * one[0] // across)
    height = -(-header.height * one[1] // down)
    return -(-width // 8) * -(-height // 8)
