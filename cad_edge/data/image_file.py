"""Image files: which codec reads a file, and one sentence for whatever is wrong with it.

The contents decide, not the suffix. No setting of Pillow that holds for the whole process is asked:
what is truncated here is truncated in every program.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cad_edge.data.codecs.bmp import BmpFile
from cad_edge.data.codecs.jpeg import JpegFile
from cad_edge.data.codecs.netpbm import NetpbmFile
from cad_edge.data.codecs.png import SIGNATURE as PNG
from cad_edge.data.codecs.png import PngFile
from cad_edge.data.codecs.samples import Damaged, ImageCodec, Samples, Unsupported, turned
from cad_edge.data.codecs.tiff import SIGNATURES as TIFF
from cad_edge.data.codecs.tiff import TiffFile
from cad_edge.data.codecs.webp import WebpFile
from cad_edge.data.image_limits import MAXIMUM_PIXELS, check_size, require_max_pixels
from cad_edge.errors import CadEdgeError, ImageError

_NO_IMAGE = "it is truncated, damaged or no image"
_REPLACE = "replace it with a PNG, JPEG, BMP, TIFF, WebP or PGM file"
_LONGEST_NAME = 350  # characters of a path in a message
_LARGEST = 1 << 28  # bytes of a file of any size in pixels
_BYTES_PER_PIXEL = 16  # that a larger file may have


def read_samples(path: Path, max_pixels: int = MAXIMUM_PIXELS) -> Samples:
    """Decode an image file and turn it upright.

    Parameters
    ----------
    path
        Of any format that `cad_edge.data.image_formats` lists.
    max_pixels
        How many pixels it may have; said before it is decoded.

    Raises
    ------
    ImageError
        The file is not there or no image, has another size, holds what has no rule, is incomplete
        or damaged, shows not one pixel, or there is not enough memory.
    """
    with opened(path, max_pixels) as image:
        samples = image.decode()
        if samples.values.shape[:2] != (image.height, image.width):
            raise Damaged("it is damaged: its header states another size")
        if samples.values.shape[2:] == (4,) and not samples.values[..., 3].any():
            raise ImageError(
                f"{shown(path)} has alpha 0 everywhere, so that not one pixel is visible; save it "
                "without an alpha channel"
            )
        return Samples(turned(samples.values, image.orientation), samples.white)


def read_size(path: Path, max_pixels: int = MAXIMUM_PIXELS) -> tuple[int, int]:
    """(height, width) of an image file, upright; its pixels are not decoded. Errors as above."""
    with opened(path, max_pixels) as image:
        lies = image.orientation >= 5
        return (image.width, image.height) if lies else (image.height, image.width)


@contextmanager
def opened(path: Path, max_pixels: int = MAXIMUM_PIXELS) -> Iterator[ImageCodec]:
    """Read the header of a file of an allowed size; whatever is wrong with it is an ImageError."""
    max_pixels = require_max_pixels(max_pixels)
    with explained(path), open_file(path) as file:
        image = _codec(file, max_pixels)
        if min(image.width, image.height) < 1:
            raise Damaged(_NO_IMAGE)
        check_size(image.width, image.height, shown(path), max_pixels)
        yield image


def open_file(path: Path) -> BinaryIO:
    """Open a file, but no pipe or device, which could be waited for or read for ever."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise Damaged("it is a pipe or a device, not a file")
    return path.open("rb")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say whatever goes wrong with a file as an ImageError."""
    try:
        yield
    except CadEdgeError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{shown(path)} does not exist; check the path") from None
    except MemoryError:
        raise ImageError(
            f"there is not enough memory to decode {shown(path)}; give the process more, or crop "
            "the image or make it smaller"
        ) from None
    except ImportError as problem:
        raise ImageError(
            f"{shown(path)} is read by the package {problem.name}, which is not installed; run "
            f"`pip install {problem.name}`"
        ) from None
    except Unsupported as problem:
        raise ImageError(
            f"{shown(path)} has an unsupported pixel type: {problem!s:.100}; convert it to grey "
            "or RGB of 8 or 16 bits"
        ) from None
    except Exception as problem:  # a broken file makes decoders raise nearly anything
        raise ImageError(f"{shown(path)} cannot be read ({_reason(problem)}); {_REPLACE}") from None


def shown(path: Path) -> str:
    """Write a path on one line: odd characters escaped, and the middle of a long one left out."""
    text = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(path)
    )
    return text if len(text) <= _LONGEST_NAME else f"{text[:100]}...{text[-_LONGEST_NAME + 100 :]}"


def _reason(problem: Exception) -> str:
    if isinstance(problem, Damaged):
        return str(problem)
    return getattr(problem, "strerror", None) or _NO_IMAGE


def _codec(file: BinaryIO, max_pixels: int) -> ImageCodec:
    start = file.read(16)
    file.seek(0)
    if start[:4] in TIFF:
        return TiffFile(file)
    if start[:2] == b"BM":
        return BmpFile(file)
    for known, codec in _BY_START:
        if known(start):
            most = max(_LARGEST, _BYTES_PER_PIXEL * max_pixels)
            if os.fstat(file.fileno()).st_size > most:
                raise Damaged(f"it is a file of more than {most >> 20} MB")
            return codec(file.read())
    raise Damaged(_NO_IMAGE)


_BY_START: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], ImageCodec]], ...] = (
    (lambda start: start.startswith(PNG), PngFile),
    (lambda start: start.startswith(b"\xff\xd8\xff"), JpegFile),
    (lambda start: start[:4] == b"RIFF" and start[8:12] == b"WEBP", WebpFile),
    (lambda start: start[:1] == b"P" and start[1:2] in b"123456" and len(start) > 2, NetpbmFile),
)
