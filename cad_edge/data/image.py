"""Images: from a file or array to the uint8 RGB frame that every part of cad-edge works on.

One implementation serves training, calibration and the device, so that a score never moves because
two decoders or two resizes disagree. Nothing here looks at an image's contents to choose a scale:
a value means the same brightness in every image.

    grey (1 to 8 bit, palette)   copied to three channels; a palette gives its colours
    uint16                       the full range 0..65535 onto 0..255, v / 257 rounded
    float                        [0, 1] onto 0..255, rounded; anything else is refused
    alpha                        composited over black
    EXIF orientation             applied; colour profiles are not
    several pages or frames      the first
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from cad_edge.data.image_formats import FORMATS
from cad_edge.errors import ImageError
from cad_edge.schema import Record

Frame: TypeAlias = NDArray[np.uint8]
"""(height, width, 3) uint8 RGB."""

MINIMUM_SIDE = 8  # pixels; below this no backbone has a single patch
MAXIMUM_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb

_UINT8 = np.dtype(np.uint8)
_ORIENTATION = 274  # EXIF
_LYING = (5, 6, 7, 8)  # orientations that swap width and height
_COLOUR_MODES = frozenset({"1", "P", "RGB", "RGBX", "CMYK", "YCbCr"})


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
        resized = Image.fromarray(rgb).resize(
            (self.width, self.height), resample=Image.Resampling.BILINEAR
        )
        return np.array(resized)


def as_rgb(array: NDArray[Any]) -> Frame:
    """Turn a camera's array into an RGB frame, by rules that do not depend on the contents.

    Parameters
    ----------
    array
        (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA; uint8, uint16, or float in [0, 1].

    Returns
    -------
    (h, w, 3) uint8, contiguous; ``array`` itself where it is that already.

    Raises
    ------
    ImageError
        Another dtype, shape or number of channels, a side under 8 px, or a float value that is not
        finite or lies outside [0, 1].
    """
    if not isinstance(array, np.ndarray):
        raise ImageError(
            f"the image is a {type(array).__name__}; give a numpy array, or decode a file first"
        )
    shape = array.shape
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        raise ImageError(
            f"the image array has shape {shape}; give (height, width) or (height, width, channels) "
            "with 1, 3 or 4 channels"
        )
    check_size(shape[1], shape[0], "the image array")
    levels = array if array.dtype == _UINT8 else _levels(array)
    if len(shape) == 2 or shape[2] == 1:
        return np.repeat(levels.reshape(shape[0], shape[1], 1), 3, axis=2)
    if shape[2] == 4:
        return _over_black(levels)
    return np.ascontiguousarray(levels)


def _levels(array: NDArray[Any]) -> Frame:
    """Map uint16 or float values of any shape onto 0..255."""
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise ImageError(
            f"the image array is {array.dtype}; give uint8, uint16, or float between 0 and 1"
        )
    if not np.isfinite(array).all():
        raise ImageError("the float image holds NaN or infinite values; give finite ones in [0, 1]")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise ImageError(
            f"the float image ranges from {low:g} to {high:g}; scale it to [0, 1] by the camera's "
            "own range, or give uint8 or uint16"
        )
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _over_black(rgba: Frame) -> Frame:
    """Composite (h, w, 4) over black: what is transparent shows no colour left over beneath it."""
    weighted = rgba[..., :3].astype(np.uint16) * rgba[..., 3:]
    return ((weighted + 127) // 255).astype(np.uint8)


def decode_image(path: Path) -> Frame:
    """Read an image file as (h, w, 3) uint8 RGB, upright by its EXIF orientation.

    Colour files of 16 bits per channel keep the upper byte, which is all that Pillow reads of
    them; grey ones follow the uint16 rule.

    Raises
    ------
    ImageError
        The file is not there, not a PNG, JPEG, BMP, TIFF or WebP, truncated or broken, smaller than
        8 px or larger than 89 megapixels, or of a pixel type without a rule.
    """
    pixels = decode_pixels(path)
    try:
        return as_rgb(pixels)
    except ImageError as problem:
        raise ImageError(f"{path} cannot be used: {problem}") from None


def decode_pixels(path: Path) -> NDArray[Any]:
    """Decode to (h, w) uint8, uint16 or float32, or to (h, w, 3 or 4) uint8, upright.

    Raises
    ------
    ImageError
        As `decode_image`.
    """
    image = _decoded(path)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return np.array(image).astype(np.uint16)  # also brings big-endian files to native order
    if image.mode in ("L", "F") and not image.has_transparency_data:
        return np.array(image)
    if image.has_transparency_data:
        return np.array(image.convert("RGBA"))
    if image.mode in _COLOUR_MODES:
        return np.array(image.convert("RGB"))
    raise ImageError(
        f"{path} has the pixel type {image.mode}; convert it to 8-bit or 16-bit grey or 8-bit RGB"
    )


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file as `decode_image` would turn it, without decoding it.

    Raises
    ------
    ImageError
        The file is not there, not an image, or too small or large.
    """
    with _opened(path) as image:
        width, height = image.size
        lies = image.getexif().get(_ORIENTATION) in _LYING
    return (width, height) if lies else (height, width)


def _decoded(path: Path) -> Image.Image:
    """Open a file, refuse sizes before decoding, decode all of it and turn it upright."""
    with _opened(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return image


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file of an allowed size; whatever goes wrong with it is an ImageError."""
    try:
        # Given a name, Pillow maps uncompressed TIFFs into memory and then turns them wrongly.
        with path.open("rb") as file, Image.open(file, formats=tuple(FORMATS)) as image:
            check_size(*image.size, str(path))
            yield image
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(_too_large(str(path))) from None
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check the path") from None
    except Exception as problem:  # a broken file makes Pillow's decoders raise nearly anything
        reason = getattr(problem, "strerror", None) or "it is truncated, damaged or no image"
        raise ImageError(
            f"{path} cannot be read ({reason}); replace it with a PNG, JPEG, BMP, TIFF or WebP file"
        ) from None


def check_size(width: int, height: int, source: str) -> None:
    """Raise ImageError where a side is under 8 px, or there are more than 89 megapixels."""
    if min(width, height) < MINIMUM_SIDE:
        raise ImageError(
            f"{source} is {width}x{height} px; give an image of at least {MINIMUM_SIDE} px a side"
        )
    if width * height > MAXIMUM_PIXELS:
        raise ImageError(_too_large(source))


def _too_large(source: str) -> str:
    return (
        f"{source} has more than {MAXIMUM_PIXELS // 1_000_000} megapixels; crop it or make it "
        "smaller first"
    )
