"""Samples: what a file's pixels hold before they become brightness, and why they cannot be had.

A codec is a class that takes a file's bytes and reads the header at once; `decode` reads the rest.
It knows nothing of paths: what it raises here becomes an ImageError that names the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 1 << 18  # pixels that are converted at a time


class Unsupported(Exception):
    """A whole file holds what has no rule; the message names it, as in "CIE L*a*b* colour"."""


class Damaged(Exception):
    """A file has lost or changed data; the message says what is wrong, as in "it is truncated"."""


@dataclass(frozen=True)
class Samples:
    """Pixels as the file stores them, upright only after `turned`."""

    values: NDArray[Any]
    """(h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA with straight alpha; uint8, uint16 or float."""

    white: int = 255
    """The integer that stands for white, as 4095 of 12 bits; 1.0 does of floats."""


class ImageCodec(Protocol):
    """An image file whose header has been read."""

    width: int
    height: int
    orientation: int
    """1 to 8, as EXIF numbers them; 1 is upright."""

    def decode(self) -> Samples:
        """Decode all of it.

        Raises
        ------
        Unsupported
            The file holds what has no rule.
        Damaged
            Data is missing or wrong.
        """
        ...


def strips(height: int, width: int) -> Iterator[slice]:
    """Divide rows into strips so small that temporary arrays do not count."""
    rows = max(_AT_ONCE // max(width, 1), 1)
    for first in range(0, height, rows):
        yield slice(first, min(first + rows, height))


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (h, w, ...) upright; ``values`` itself where it is."""
    if orientation == 1:
        return values
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(values[rows, columns])


def full_range(samples: Samples) -> NDArray[Any]:
    """Stretch integers to the whole range of 8 or 16 bits: white becomes 255 or 65535.

    Returns
    -------
    Of the shape and type of the samples; themselves where their range is whole already.
    """
    values = samples.values
    if values.dtype.kind == "f":
        return values
    top = 255 if values.itemsize == 1 else 65535
    if samples.white == top:
        return values
    result = np.empty_like(values)
    for rows in strips(*values.shape[:2]):
        part = values[rows].astype(np.uint32)
        # Beyond white there is nothing whiter: a file may hold more than it states.
        np.minimum(part, samples.white, out=part)
        result[rows] = (part * top + samples.white // 2) // samples.white
    return result
