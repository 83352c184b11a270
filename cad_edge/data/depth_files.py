"""Depth files: from what a sensor or a data set wrote to a depth plane.

What a file holds is told by its contents, not by its name:

    16-bit grey PNG or TIFF            in the file's units, 0 for no measurement
    the same, of Eyecandies            metres, by the YAML file beside it (`eyecandies`)
    TIFF of one float32 channel        as it is, 0 for no measurement
    TIFF (height, width, 3) float32    an organised point cloud, as MVTec 3D-AD has it: x, y and z
                                       of what each pixel sees, of which z is the depth; the
                                       point (0, 0, 0) says that nothing was measured

A distance is finite and not negative. 8 bits hold a picture of a depth and not its values.
"""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cad_edge.data.depth import Plane
from cad_edge.data.eyecandies import depth_bounds
from cad_edge.data.image import check_size, decode_pixels
from cad_edge.errors import ImageError

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SAMPLES_PER_PIXEL, _ORIENTATION = 277, 274
_FULL = np.iinfo(np.uint16).max
_GAPS = "save 0 where nothing was measured"


def decode_depth(path: Path) -> Plane:
    """Read a depth file.

    Parameters
    ----------
    path
        Of one of the kinds above.

    Returns
    -------
    (h, w) float32 in the file's units, metres for Eyecandies; 0 is no measurement.

    Raises
    ------
    ImageError
        The file is not there, truncated or broken, smaller than 8 px or larger than 89 megapixels
        (said before decoding), of another type or shape, holds NaN, an infinite value or a negative
        distance, or is a point cloud and the package tifffile is not installed.
    """
    if _is_point_cloud(path):
        cloud = _point_cloud(path)
        _require_finite(cloud, path)
        plane = np.ascontiguousarray(cloud[..., 2], dtype=np.float32)
    else:
        plane = _grey(path)
        _require_finite(plane, path)
    if (plane < 0).any():
        raise ImageError(
            f"{path} holds the negative distance {plane.min():.4g}; give distances from the "
            f"sensor, and {_GAPS}"
        )
    return plane


def _require_finite(values: NDArray[Any], path: Path) -> None:
    if not np.isfinite(values).all():
        raise ImageError(f"{path} holds NaN or infinite values; {_GAPS}")


def _grey(path: Path) -> Plane:
    """Read one channel of 16 bits or float32."""
    pixels = decode_pixels(path)
    if pixels.dtype == np.float32:
        return pixels
    if pixels.dtype != np.uint16:
        raise ImageError(
            f"{path} is not a 16-bit grey image, a float32 TIFF or a point cloud, but a picture of "
            f"8 bits; save the distances themselves, and {_GAPS}"
        )
    bounds = depth_bounds(path)
    if bounds is None:
        return pixels.astype(np.float32)
    near, far = bounds
    return (pixels / _FULL * (far - near) + near).astype(np.float32)


def _is_point_cloud(path: Path) -> bool:
    """Whether a file is a TIFF that needs tifffile: several channels of floats, or odd ones.

    Pillow cannot open floats of three channels. It opens a cloud that is stored channel by channel,
    or row by row as images three pixels wide, but would show no more than x or one row of it.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) not in _TIFF:
                return False
            file.seek(0)
            with Image.open(file, formats=("TIFF",)) as image:
                channels = image.getexif().get(_SAMPLES_PER_PIXEL, 1)
                return image.mode == "F" and (channels != 1 or image.width == 3)
    except UnidentifiedImageError:
        return True
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return False  # `decode_pixels` says why
    except Exception:  # a broken file makes Pillow raise nearly anything
        return True


def _point_cloud(path: Path) -> NDArray[Any]:
    """Read (h, w, 3) float32."""
    tifffile = _load_tifffile(path)
    try:
        with tifffile.TiffFile(path) as file:
            stored = file.series[0]
            _require_cloud(stored.shape, stored.dtype, path)
            turned = file.pages.first.tags.valueof(_ORIENTATION, default=1)
            if turned != 1:
                raise ImageError(f"{path} is stored turned (orientation {turned}); save it upright")
            cloud: NDArray[Any] = stored.asarray()
    except ImageError:
        raise
    except Exception as problem:  # as above
        raise ImageError(f"{path} cannot be read ({_reason(problem)}); save it again") from None
    _require_cloud(cloud.shape, cloud.dtype, path)
    return cloud


def _require_cloud(shape: tuple[int, ...], dtype: np.dtype[Any], path: Path) -> None:
    if len(shape) != 3 or shape[2] != 3 or dtype != np.float32:
        raise ImageError(
            f"{path} is {dtype} of shape {shape}; give a point cloud of (height, width, 3) "
            "float32, or depth as 16-bit grey or one channel of float32"
        )
    check_size(shape[1], shape[0], str(path))


def _reason(problem: Exception) -> str:
    if "imagecodecs" in str(problem):
        return "tifffile needs the package imagecodecs for this compression"
    return getattr(problem, "strerror", None) or "it is truncated or damaged"


def _load_tifffile(path: Path) -> ModuleType:
    try:
        import tifffile
    except ImportError:
        raise ImageError(
            f"{path} is a TIFF as point clouds are, and the package tifffile that reads them is "
            'not installed; run `pip install "cad-edge[rgbd]"`'
        ) from None
    # What is wrong with a file is said once, by the error.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    module: ModuleType = tifffile
    return module
