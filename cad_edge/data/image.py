"""Images: from a file or array to a network's input.

One implementation serves training, calibration and the device, so that a score never moves because
two decoders or two resizes disagree. Nothing here looks at an image's contents to choose a scale:
a value means the same brightness in every image. What each kind of file and array means is the
table of docs/data.md.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from cad_edge.data.codecs.samples import full_range, strips
from cad_edge.data.image_file import explained, read_samples, read_size, shown
from cad_edge.data.image_limits import MAXIMUM_PIXELS, MINIMUM_SIDE, check_size
from cad_edge.data.pixel_values import Frame, as_rgb
from cad_edge.errors import ImageError
from cad_edge.schema import Record

__all__ = [
    "MAXIMUM_PIXELS",
    "MINIMUM_SIDE",
    "Frame",
    "ImageRecipe",
    "as_rgb",
    "check_size",
    "decode_image",
    "decode_pixels",
    "image_size",
]

_UINT8 = np.dtype(np.uint8)
_LARGE = 4_000_000  # pixels from which a frame is shrunk a strip at a time


class ImageRecipe(Record):
    """How a decoded frame becomes a network's input; one implementation for every use."""

    width: int = Field(ge=8, le=4096)
    height: int = Field(ge=8, le=4096)
    resample: Literal["bilinear"] = "bilinear"
    channels: Literal["rgb"] = "rgb"

    def apply(self, rgb: Frame) -> Frame:
        """Resize by Pillow's bilinear filter, widened when shrinking so that it does not alias.

        Parameters
        ----------
        rgb
            (h, w, 3) uint8, as `as_rgb` and `decode_image` give it.

        Returns
        -------
        (height, width, 3) uint8; ``rgb`` itself, not a copy, where it has that size already.

        Raises
        ------
        ImageError
            ``rgb`` is not (h, w, 3) uint8.
        """
        if rgb.shape == (self.height, self.width, 3) and rgb.dtype == _UINT8:
            return rgb
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != _UINT8:
            raise ImageError(
                f"the frame is {rgb.dtype} of shape {rgb.shape}; give (height, width, 3) uint8, "
                "as as_rgb makes it"
            )
        if rgb.shape[0] * rgb.shape[1] > _LARGE:
            rgb = self._narrowed(rgb)
        resized = Image.fromarray(rgb).resize(
            (self.width, self.height), resample=Image.Resampling.BILINEAR
        )
        return np.array(resized)

    def _narrowed(self, rgb: Frame) -> Frame:
        """Resize the width alone, a strip at a time: Pillow's copy takes more than the frame.

        Pillow resizes in this order too, and rounds in between, so that the result is the same.
        """
        narrow = np.empty((len(rgb), self.width, 3), np.uint8)
        for rows in strips(*rgb.shape[:2]):
            strip = Image.fromarray(rgb[rows])
            narrow[rows] = np.asarray(
                strip.resize((self.width, strip.height), resample=Image.Resampling.BILINEAR)
            )
        return narrow


def decode_image(path: Path, max_pixels: int = MAXIMUM_PIXELS) -> Frame:
    """Read an image file as (h, w, 3) uint8 RGB, upright by its EXIF orientation.

    Parameters
    ----------
    path
        A PNG, JPEG, BMP, TIFF, WebP, PBM, PGM or PPM file, whatever its suffix.
    max_pixels
        How many pixels it may have.

    Raises
    ------
    ImageError
        The file is not there, no image, truncated or broken, smaller than 8 px or larger than
        ``max_pixels``, of a pixel type without a rule, shows not one visible pixel, or there is not
        enough memory to decode it.
    """
    pixels = decode_pixels(path, max_pixels)
    try:
        return as_rgb(pixels, max_pixels)
    except ImageError as problem:
        raise ImageError(f"{shown(path)} cannot be used: {problem}") from None
    except MemoryError:
        with explained(path):
            raise


def decode_pixels(path: Path, max_pixels: int = MAXIMUM_PIXELS) -> NDArray[Any]:
    """Decode to the array that `as_rgb` makes the frame of, upright.

    Returns
    -------
    (h, w), (h, w, 3) or (h, w, 4) of uint8, uint16 or float. Integers have their whole range: white
    is 255 or 65535, also where the file states 12 bits.

    Raises
    ------
    ImageError
        As `decode_image`.
    """
    with explained(path):
        return full_range(read_samples(path, max_pixels))


def image_size(path: Path, max_pixels: int = MAXIMUM_PIXELS) -> tuple[int, int]:
    """(height, width) of an image file as `decode_image` would turn it, without decoding it.

    Raises
    ------
    ImageError
        The file is not there, not an image, or too small or large.
    """
    return read_size(path, max_pixels)
