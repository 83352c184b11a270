"""The directory of a TIFF page: whether what it names lies in the file.

tifffile passes over an entry whose value it cannot read and goes on with the default, and fills
strips and tiles that a file lacks. Each would give a picture that nobody took.
"""

import struct
from typing import Any, Protocol

from numpy.typing import NDArray

from cad_edge.data.codecs.samples import Damaged

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}  # of BigTIFF
"""Bytes of a value by its type."""

_NEEDED = frozenset(
    {
        *(254, 256, 257, 258, 259, 262, 266, 277, 284),  # what pixels are
        *(273, 278, 279, 322, 323, 324, 325),  # where they are
        *(317, 320, 338, 339, 347, 529, 530, 532),  # what their numbers mean
        274,  # how the picture lies
    }
)

_NONE, _BITS = 1, 258
_LARGEST_TILE = 1 << 24  # pixels of a tile, however small the picture


class Page(Protocol):
    """What is asked of a `tifffile.TiffPage`."""

    imagewidth: int
    imagelength: int
    imagedepth: int
    samplesperpixel: int
    bitspersample: Any
    sampleformat: Any
    photometric: Any
    compression: Any
    planarconfig: int
    extrasamples: tuple[int, ...]
    subfiletype: int
    rowsperstrip: int
    tilewidth: int
    tilelength: int
    offset: int
    dataoffsets: tuple[int, ...]
    databytecounts: tuple[int, ...]
    dtype: Any
    shape: tuple[int, ...]
    tags: Any
    parent: Any
    colormap: Any
    decode: Any
    is_tiled: bool

    def asarray(self, *, maxworkers: int) -> NDArray[Any]:
        """Read all numbers."""
        ...


def require_directory(page: Page) -> None:
    """Raise Damaged where an entry that pixels depend on cannot be read."""
    file, big = page.parent.filehandle, page.parent.is_bigtiff
    order, size = page.parent.byteorder, file.size
    number, entry, inline = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    file.seek(page.offset)
    (count,) = struct.unpack(order + number, file.read(struct.calcsize(order + number)))
    width = struct.calcsize(order + entry)
    entries = file.read(count * width)
    if len(entries) < count * width:
        raise Damaged("it is truncated: its directory ends early")
    for tag, kind, values, place in struct.iter_unpack(order + entry, entries):
        if tag not in _NEEDED:
            continue
        length = _SIZES.get(kind, 0) * values
        begin = struct.unpack(order + ("Q" if big else "I"), place)[0] if length > inline else 0
        if not length or begin + length > size or tag not in page.tags:
            raise Damaged(f"it is truncated or damaged: its TIFF tag {tag} cannot be read")


def require_segments(page: Page) -> None:
    """Raise Damaged unless every strip or tile is there, and inside the file."""
    rows, columns = page.imagelength, page.imagewidth
    if page.is_tiled:
        if page.tilelength * page.tilewidth > max(_LARGEST_TILE, 4 * rows * columns):
            raise Damaged("it is damaged: its tiles are larger than the picture")
        count = -(-rows // page.tilelength) * -(-columns // page.tilewidth)
    else:
        count = -(-rows // page.rowsperstrip)
    if page.planarconfig == 2:
        count *= page.samplesperpixel
    size = page.parent.filehandle.size
    if count == 1 and page.compression == _NONE and not page.is_tiled:
        _require_depth(page)
        _mend_length(page, size)
    places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    there = all(begin > 0 and length > 0 and begin + length <= size for begin, length in places)
    if len(places) != count or not there:
        raise Damaged("it is truncated: strips or tiles are missing")


def _least(page: Page) -> int:
    """Bytes that all rows of a page of interleaved samples take without compression."""
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    return -(-page.imagewidth * samples * bits // 8) * int(page.imagelength)


def _require_depth(page: Page) -> None:
    """Raise Damaged where one bit, which stands for no word on the depth, is too few."""
    if _BITS not in page.tags and page.databytecounts[0] >= 2 * _least(page):
        raise Damaged("it is damaged: it does not say how many bits a sample has (TIFF tag 258)")


def _mend_length(page: Page, size: int) -> None:
    """Give a single strip the length that its rows have, where the stated one cannot be.

    Old writers state 0, or what does not fit into the file, beside whole pixels.
    """
    begins, lengths = page.dataoffsets, page.databytecounts
    if len(begins) == len(lengths) == 1 and begins[0] > 0:
        least = _least(page)
        if not 0 < lengths[0] <= size - begins[0] and begins[0] + least <= size:
            page.databytecounts = (least,)
