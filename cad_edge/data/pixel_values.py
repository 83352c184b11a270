"""Pixel values: from numbers to the uint8 RGB frame that every part of cad-edge works on.

The rules do not depend on the contents: a value means the same brightness in every image. They are
applied some rows at a time, so that no temporary array is as large as the picture.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.samples import strips
from cad_edge.data.image_limits import MAXIMUM_PIXELS, check_size
from cad_edge.errors import ImageError

Frame: TypeAlias = NDArray[np.uint8]
"""(height, width, 3) uint8 RGB."""

_UINT8 = np.dtype(np.uint8)


def as_rgb(array: NDArray[Any], max_pixels: int = MAXIMUM_PIXELS) -> Frame:
    """Turn a camera's array into an RGB frame, by rules that do not depend on the contents.

    Parameters
    ----------
    array
        (h, w), (h, w, 1), (h, w, 3) RGB or (h, w, 4) RGBA; uint8, uint16, or float in [0, 1].
    max_pixels
        How many pixels it may have.

    Returns
    -------
    (h, w, 3) uint8, contiguous; ``array`` itself where it is that already.

    Raises
    ------
    ImageError
        Another dtype, shape or number of channels, a masked array, a side under 8 px, a float value
        that is not finite or lies outside [0, 1], or alpha that lets no pixel be seen.
    """
    array = plain_array(array)
    shape = array.shape
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        raise ImageError(
            f"the image array has shape {shape}; give (height, width) or (height, width, channels) "
            "with 1, 3 or 4 channels"
        )
    check_size(shape[1], shape[0], "the image array", max_pixels)
    _require_values(array)
    if array.dtype == _UINT8 and shape[2:] == (3,):
        return np.ascontiguousarray(array)
    frame = np.empty((*shape[:2], 3), np.uint8)
    seen = shape[2:] != (4,)
    for rows in strips(*shape[:2]):
        levels = _levels(array[rows])
        target = frame[rows]
        if shape[2:] == (4,):
            seen = seen or bool(levels[..., 3].any())
            _composite(levels, target)
        elif shape[2:] == (3,):
            target[...] = levels
        else:
            for channel in range(3):  # three times as fast as all at once
                target[..., channel] = levels.reshape(target.shape[:2])
    if not seen:
        raise ImageError(
            "the image has alpha 0 everywhere, so that not one pixel is visible; save it without "
            "an alpha channel"
        )
    return frame


def plain_array(array: object) -> NDArray[Any]:
    """Return an array without what a subclass adds.

    Raises
    ------
    ImageError
        It is no numpy array, or a masked one.
    """
    if type(array) is np.ndarray:
        return array
    if not isinstance(array, np.ndarray):
        raise ImageError(
            f"the image is a {type(array).__name__:.60}; give a numpy array, or decode a file first"
        )
    if isinstance(array, np.ma.MaskedArray):
        raise ImageError("the image is a masked array; fill what is masked and give a plain array")
    return np.asarray(array)


def _require_values(array: NDArray[Any]) -> None:
    kind = array.dtype.kind
    if array.dtype == _UINT8 or (kind == "u" and array.dtype.itemsize == 2):
        return
    if kind != "f":
        raise ImageError(
            f"the image array is {array.dtype!s:.60}; give uint8, uint16, or float between 0 and 1"
        )
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("the float image holds NaN or infinite values; give finite ones in [0, 1]")
    if low < 0 or high > 1:
        raise ImageError(
            f"the float image ranges from {_digits(array.min())} to {_digits(array.max())}; scale "
            "it to [0, 1] by the camera's own range, or give uint8 or uint16"
        )


def _digits(value: np.floating[Any]) -> str:
    """Write a number with all the digits that tell it from its neighbours."""
    return str(value).removesuffix(".0")


def _levels(array: NDArray[Any]) -> Frame:
    """Map uint16 or float values of any shape onto 0..255; uint8 is there already."""
    if array.dtype == _UINT8:
        return array
    if array.dtype.kind == "u":
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _composite(rgba: Frame, target: Frame) -> None:
    """Write (h, w, 4) over black: what is transparent shows no colour left over beneath it."""
    weighted = rgba[..., :3].astype(np.uint16) * rgba[..., 3:]
    weighted += 127
    weighted //= 255
    target[...] = weighted
