"""TIFF and BigTIFF: the first page of full resolution, read by tifffile and its codecs.

What the numbers of a page mean is in `tiff_pixels`; here is that all of them are there. tifffile
fills strips and tiles that a file lacks, and two of its codecs go on where their data ends.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.jpeg_header import JpegHeader
from cad_edge.data.codecs.jpeg_scans import complete, require_all_scans
from cad_edge.data.codecs.orientation import UPRIGHT, orientation, valid
from cad_edge.data.codecs.samples import Damaged, Samples, Unsupported
from cad_edge.data.codecs.tiff_directory import Page, require_directory, require_segments
from cad_edge.data.codecs.tiff_pixels import meaning, require_known

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NONE, _JPEG, _FAX = 1, 7, (2, 3, 4)
_COMPRESSIONS = {
    _NONE,
    *_FAX,
    5,  # LZW
    _JPEG,
    8,  # Deflate
    32946,  # its old number
    32773,  # PackBits
    34925,  # LZMA
    50000,  # Zstandard
}
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_SUB_DIRECTORIES, _DNG, _ORIENTATION, _XMP, _JPEG_TABLES = 330, 50706, 274, 700, 347
# What no fax code is taken for the end by; as good as random, so that it shows.
_PAD = bytes(np.random.default_rng(0).integers(0, 256, 512, dtype=np.uint8))


def load_tifffile() -> ModuleType:
    """Import tifffile, which is slow, where a TIFF has to be read.

    What is wrong with a file is said once, by an error, and not in a log.
    """
    import tifffile

    logger = logging.getLogger("tifffile")
    if not any(isinstance(one, logging.NullHandler) for one in logger.handlers):
        logger.addHandler(logging.NullHandler())
    module: ModuleType = tifffile
    return module


class TiffFile:
    """A TIFF file, which stays open; a strip of it is read when it is decoded."""

    def __init__(self, file: BinaryIO) -> None:
        tifffile = load_tifffile()
        try:
            self._file = tifffile.TiffFile(file)
            self._page = _full_resolution(self._file.pages)
            require_directory(self._page)
            self.width, self.height = int(self._page.imagewidth), int(self._page.imagelength)
            self.orientation = _orientation(self._page)
        except (Unsupported, Damaged, MemoryError):
            raise
        except Exception:  # a broken file makes tifffile raise nearly anything
            raise Damaged("it is truncated, damaged or no image") from None

    @property
    def page(self) -> Page:
        """The page that is read."""
        return self._page

    @property
    def stack(self) -> tuple[int, ...]:
        """Shape of the pages that belong together: of one page, or with how many there are."""
        return tuple(self._file.series[0].shape)

    def stacked(self) -> NDArray[Any]:
        """Read the numbers of all pages that belong together; errors are those of `numbers`."""
        pages = self._file.series[0]
        with _translated():
            for page in pages.pages:
                require_segments(page)
            values: NDArray[Any] = pages.asarray(maxworkers=1)
        return values

    def decode(self) -> Samples:
        """Decode the page."""
        require_known(self._page)
        return meaning(self._page, self.numbers())

    def numbers(self) -> NDArray[Any]:
        """Read a page's numbers as they are stored: (h, w) or (h, w, channels).

        Raises
        ------
        Unsupported
            The compression is none of those that are known to notice what is missing.
        Damaged
            A strip or tile is missing, shorter than it must be, or broken.
        """
        page = self._page
        if page.compression not in _COMPRESSIONS:
            name = getattr(page.compression, "name", page.compression)
            raise Unsupported(f"the TIFF compression {name}")
        with _translated():
            require_segments(page)
            if page.compression in (_JPEG, *_FAX):
                _require_complete(page)
            values: NDArray[Any] = page.asarray(maxworkers=1)
        if values.shape != page.shape:
            raise Damaged("it is damaged: it holds no pixels")
        if page.planarconfig == 2 and values.ndim == 3:
            values = np.ascontiguousarray(values.transpose(1, 2, 0))
        return values


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (Unsupported, Damaged, MemoryError, ImportError):
        raise
    except NotImplementedError:
        raise Unsupported("a TIFF layout without a rule, as subsampled colour") from None
    except Exception as problem:  # a broken file makes tifffile raise nearly anything
        if "imagecodecs" in str(problem):
            raise ImportError("imagecodecs", name="imagecodecs") from None
        raise Damaged("it is truncated or damaged: strips or tiles are broken") from None


def _full_resolution(pages: Sequence[Page]) -> Page:
    """Return the first page that is neither a preview nor a mask, or else the first."""
    first = pages[0]
    if _DNG in first.tags:
        raise Unsupported("the raw pixels of a camera (DNG)")
    for page in pages if first.subfiletype & (_REDUCED | _MASK) else ():
        if not page.subfiletype & (_REDUCED | _MASK):
            return page
    if first.subfiletype & _REDUCED and _SUB_DIRECTORIES in first.tags:
        raise Unsupported("a preview before the raw pixels of a camera")
    return first


def _orientation(page: Page) -> int:
    xmp = page.tags.valueof(_XMP)
    if _ORIENTATION not in page.tags:
        return orientation(None, xmp if isinstance(xmp, bytes) else None)
    value = page.tags.valueof(_ORIENTATION)
    return valid(int(value)) if isinstance(value, int) else UPRIGHT


def _require_complete(page: Page) -> None:
    """Raise Damaged where a strip or tile of JPEG or fax codes ends early."""
    tables = page.tags.valueof(_JPEG_TABLES)
    for index, (begin, length) in enumerate(
        zip(page.dataoffsets, page.databytecounts, strict=True)
    ):
        page.parent.filehandle.seek(begin)
        data = page.parent.filehandle.read(length)
        if page.compression == _JPEG:
            whole = _require_jpeg(page, index, data, tables)
        else:
            read = page.decode(data, index)[0]
            whole = np.array_equal(read, page.decode(data + _PAD, index)[0])
        if not whole:
            raise Damaged("it is incomplete: a strip or tile ends early")


def _require_jpeg(page: Page, index: int, data: bytes, tables: bytes | None) -> bool:
    def read(stream: bytes) -> NDArray[Any]:
        decoded: NDArray[Any] = page.decode(stream, index, jpegtables=tables)[0]
        return decoded

    header = JpegHeader(data)
    require_all_scans(data, header)
    return complete(data, header, read, read(data))
