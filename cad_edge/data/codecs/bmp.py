"""BMP: 1 to 32 bits, bottom-up and top-down; headers and colours without a palette by Pillow.

Pillow can be told, by a switch of the whole process, to take what is missing for black. It is
therefore given the file by a reader that does not end quietly.
"""

from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image

from cad_edge.data.codecs.bmp_palette import decode_palette, read_layout
from cad_edge.data.codecs.orientation import UPRIGHT
from cad_edge.data.codecs.samples import Damaged, Samples, Unsupported, strips

_MODES = ("RGB", "RGBA")
"""Pillow's modes of BMP files without a palette."""

_LARGE = 4_000_000  # pixels


class _Strict:
    """A file that raises where it ends."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1, /) -> bytes:
        found = self._file.read(size)
        if not found and size > 0:
            raise Damaged("it is truncated")
        return found


class BmpFile:
    """A BMP file, which stays open."""

    orientation = UPRIGHT

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        try:
            # Not by Image.open, which has a limit of size for the whole process.
            self._image = BmpImagePlugin.BmpImageFile(cast(BinaryIO, _Strict(file)))
        except (OSError, SyntaxError) as problem:
            if "nsupported" in str(problem):
                raise Unsupported("a kind of BMP without a rule") from None
            raise Damaged("it is truncated, damaged or no image") from None
        self.width, self.height = self._image.size

    def decode(self) -> Samples:
        """Decode all of it."""
        image = self._image
        if layout := read_layout(self._file, image):
            return decode_palette(self._file, layout)
        if image.mode not in _MODES:
            raise Unsupported(f"BMP of Pillow's mode {image.mode}")
        image.load()
        return Samples(pixels_of(image, image.mode))


def pixels_of(image: Image.Image, mode: str) -> NDArray[Any]:
    """Copy a loaded image into an array; a large one some rows at a time, to save memory.

    Parameters
    ----------
    image
        Of Pillow.
    mode
        L, RGB or RGBA.

    Returns
    -------
    (h, w) uint8, or (h, w, 3 or 4).
    """
    if image.width * image.height < _LARGE:
        return np.array(image if image.mode == mode else image.convert(mode))
    channels = len(mode)
    shape = (image.height, image.width) if channels == 1 else (image.height, image.width, channels)
    result = np.empty(shape, np.uint8)
    for rows in strips(image.height, image.width):
        part = image.crop((0, rows.start, image.width, rows.stop))
        result[rows] = np.asarray(part if part.mode == mode else part.convert(mode))
    return result
