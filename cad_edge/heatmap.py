"""Heat maps for people: an anomaly map drawn over the frame it belongs to, and PNG files."""

import io
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cad_edge.data.image import Frame
from cad_edge.errors import ImageError

OPACITY = 0.75  # of the hottest colour, so that the part stays visible under it

# Least-squares polynomial of degree 6 in [0, 1] to the perceptually uniform map "inferno", one row
# per power from 0 up, one column per channel; off by less than 0.04. Brightness rises all the way,
# so the order of values survives grey printing and colour blindness.
_INFERNO = np.array(
    [
        [0.00021894, 0.00165100, -0.01948090],
        [0.10651342, 0.56395644, 3.93271239],
        [11.60249308, -3.97285397, -15.94239411],
        [-41.70399613, 17.43639888, 44.35414520],
        [77.16293570, -33.40235894, -81.80730926],
        [-71.31942825, 32.62606426, 73.20951986],
        [25.13112622, -12.24266895, -23.07032500],
    ]
)
_POSITIONS = np.linspace(0.0, 1.0, 256)
COLOURS: NDArray[np.float32] = (
    np.clip(np.vander(_POSITIONS, 7, increasing=True) @ _INFERNO, 0.0, 1.0) * 255
).astype(np.float32)
"""(256, 3) float32, 0..255: colour of each level from low to high."""

# The root makes what is a little above `low` visible already; level 0 leaves the frame as it is.
_WEIGHTS = (OPACITY * np.sqrt(_POSITIONS[:, None])).astype(np.float32)
_PAINT = COLOURS * _WEIGHTS


def overlay(rgb: Frame, anomaly_map: NDArray[Any], low: float, high: float) -> Frame:
    """Draw an anomaly map over its frame; what is at or below ``low`` stays untouched.

    Parameters
    ----------
    rgb
        (height, width, 3) uint8.
    anomaly_map
        (h, w) float32, stretched bilinearly over the frame where its size differs.
    low, high
        Map values that get no colour and full colour, e.g. the median of good parts and twice the
        map threshold. They are given and never taken from the map, so that frames compare.
        ``high`` at or below ``low`` draws everything above ``low`` in full colour.

    Returns
    -------
    (height, width, 3) uint8.

    Raises
    ------
    ImageError
        The map is not two-dimensional, or holds NaN or infinite values.
    """
    if anomaly_map.ndim != 2 or not np.isfinite(anomaly_map).all():
        raise ImageError(
            f"the anomaly map of shape {anomaly_map.shape} cannot be drawn; give (h, w) finite "
            "float32"
        )
    heat = _stretched(anomaly_map.astype(np.float32), rgb.shape[0], rgb.shape[1])
    span = max(high - low, float(np.finfo(np.float32).tiny))
    with np.errstate(over="ignore"):
        level = np.clip((heat - np.float32(low)) / np.float32(span), 0.0, 1.0)
    index = np.rint(level * 255).astype(np.uint8)
    drawn: Frame = np.rint(rgb * (1 - _WEIGHTS)[index] + _PAINT[index]).astype(np.uint8)
    return drawn


def _stretched(heat: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    if heat.shape == (height, width):
        return heat
    resized = Image.fromarray(heat).resize((width, height), resample=Image.Resampling.BILINEAR)
    return np.array(resized)


def encode_png(rgb: Frame) -> bytes:
    """Return (h, w, 3) uint8 as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(path: Path, rgb: Frame) -> None:
    """Write (h, w, 3) uint8 as a PNG file, whole or not at all.

    Raises
    ------
    ImageError
        The file cannot be written.
    """
    # Not longer than its name, which may be as long as the file system allows.
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(encode_png(rgb))
        temporary.replace(path)
    except OSError as problem:
        raise ImageError(f"{path} cannot be written: {problem.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
