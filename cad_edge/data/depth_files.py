"""Depth files: from what a sensor or a data set wrote to a depth plane.

What a file holds is told by its contents, not by its name:

    grey PNG or TIFF of 9 to 16 bits   in the file's units, 0 for no measurement
    the same, of Eyecandies            metres, by the YAML file beside it (`eyecandies`)
    TIFF of one float32 channel        as it is, 0 for no measurement
    TIFF (height, width, 3) float32    an organised point cloud, as MVTec 3D-AD has it: x, y and z
                                       of what each pixel sees, of which z is the depth; the
                                       point (0, 0, 0) says that nothing was measured

A distance is finite and not negative. 8 bits hold a picture of a depth and not its values.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.codecs.samples import turned
from cad_edge.data.codecs.tiff import SIGNATURES, TiffFile
from cad_edge.data.codecs.tiff_pixels import WHITE_IS_ZERO, require_known
from cad_edge.data.depth import Plane
from cad_edge.data.eyecandies import depth_bounds
from cad_edge.data.image_file import explained, open_file, read_samples, shown
from cad_edge.data.image_limits import MAXIMUM_PIXELS, check_size
from cad_edge.errors import ImageError

_FULL = np.iinfo(np.uint16).max
_SEPARATE = 2  # planar configuration
_GAPS = "save 0 where nothing was measured"


def decode_depth(path: Path, max_pixels: int = MAXIMUM_PIXELS) -> Plane:
    """Read a depth file.

    Parameters
    ----------
    path
        Of one of the kinds above.
    max_pixels
        How many pixels it may have.

    Returns
    -------
    (h, w) float32 in the file's units, metres for Eyecandies; 0 is no measurement.

    Raises
    ------
    ImageError
        The file is not there, truncated or broken, smaller than 8 px or larger than ``max_pixels``
        (said before decoding), of another type or shape, holds NaN, an infinite value or a negative
        distance, or there is not enough memory.
    """
    with explained(path):
        with open_file(path) as file:
            numbers = (
                _of_tiff(TiffFile(file), path, max_pixels)
                if file.read(4) in SIGNATURES and file.seek(0) == 0
                else None
            )
        if numbers is None:
            numbers = _of_picture(path, max_pixels)
        # Of a point cloud x and y as well: whoever writes NaN means that nothing was measured.
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            raise ImageError(f"{shown(path)} holds NaN or infinite values; {_GAPS}")
        plane = _distances(numbers, path)
        if (plane < 0).any():
            raise ImageError(
                f"{shown(path)} holds the negative distance {plane.min():.4g}; give distances from "
                f"the sensor, and {_GAPS}"
            )
    return plane


def _distances(numbers: NDArray[Any], path: Path) -> Plane:
    """Take z of a point cloud, and the numbers themselves of a plane."""
    if numbers.ndim == 3:
        return np.ascontiguousarray(numbers[..., 2], dtype=np.float32)
    bounds = depth_bounds(path)
    if numbers.dtype.kind == "f" or bounds is None:
        return numbers.astype(np.float32, copy=False)
    near, far = bounds
    return (numbers / _FULL * (far - near) + near).astype(np.float32)


def _of_picture(path: Path, max_pixels: int) -> NDArray[Any]:
    """Read one channel of 16 bits from a file of any other format, as it is stored."""
    values = read_samples(path, max_pixels).values
    _require_plane(values.shape, values.dtype, path)
    return values


def _of_tiff(file: TiffFile, path: Path, max_pixels: int) -> NDArray[Any]:
    """Read one channel of 9 to 16 bits or of float32, or the points of a cloud.

    A cloud may be stored row by row, as pages that are three pixels wide.
    """
    page = file.page
    stacked = page.imagewidth == 3 and page.samplesperpixel == 1
    shape = file.stack if stacked else tuple(page.shape)
    dtype = np.dtype(page.dtype) if page.dtype is not None else None
    check_size(
        *((shape[1], shape[0]) if stacked else (file.width, file.height)), shown(path), max_pixels
    )
    if dtype == np.float32 and len(shape) == 3 and shape[2] == 3 and page.planarconfig != _SEPARATE:
        if file.orientation != 1:
            raise ImageError(
                f"{shown(path)} is stored turned (orientation {file.orientation}); save it upright"
            )
        return file.stacked() if stacked else file.numbers()
    if dtype is None or (len(shape) == 2 and dtype.kind != "f"):
        require_known(page)
    _require_plane(shape, dtype, path)
    if page.photometric == WHITE_IS_ZERO and 262 in page.tags:  # tifffile's default otherwise
        raise ImageError(
            f"{shown(path)} states that 0 is white, which a distance is not; save it with "
            "photometric interpretation 1 (black is 0)"
        )
    return turned(file.numbers(), file.orientation)


def _require_plane(shape: tuple[int, ...], dtype: np.dtype[Any] | None, path: Path) -> None:
    if dtype is not None and dtype.itemsize == 1:
        raise ImageError(
            f"{shown(path)} is not a 16-bit grey image, a float32 TIFF or a point cloud, but a "
            f"picture of 8 bits; save the distances themselves, and {_GAPS}"
        )
    if len(shape) != 2 or dtype not in (np.dtype(np.uint16), np.dtype(np.float32)):
        raise ImageError(
            f"{shown(path)} is {dtype} of shape {shape}; give a point cloud of (height, width, 3) "
            "float32, or depth as 16-bit grey or one channel of float32"
        )
