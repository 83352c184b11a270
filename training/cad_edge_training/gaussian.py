"""Gaussian smoothing of small maps, and the constant matrices that do the same in one product.

Bilinear resizing and separable smoothing are linear along each axis, so that
``map = A S A^T`` with A = G R: G smooths (border rule included), R resizes.
"""

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Resize: TypeAlias = Literal["bilinear", "area"]
"""How feature maps come to one grid."""

TRUNCATE = 4.0  # standard deviations, as scipy's default


def smooth(patches: Tensor, size: tuple[int, int], deviation: float) -> Tensor:
    """Resize (batch, h, w) bilinearly to ``size`` and smooth it, half-sample symmetric border.

    Parameters
    ----------
    patches
        (batch, h, w) float32.
    size
        (height, width) in pixels.
    deviation
        Standard deviation of the Gaussian in pixels; 0 smooths nothing.

    Returns
    -------
    Tensor
        (batch, height, width) float32.
    """
    resized = functional.interpolate(
        patches[:, None], size=size, mode="bilinear", align_corners=False
    )[:, 0]
    if deviation == 0:
        return resized
    from scipy.ndimage import gaussian_filter

    smoothed = [gaussian_filter(one.double().numpy(), deviation) for one in resized]
    return torch.from_numpy(np.stack(smoothed)).float()


def resize_matrix(size: int, cells: int, aligned: bool = False) -> np.ndarray:
    """R (size, cells) float64 of bilinear interpolation.

    Centres of pixels lie half a pixel from the edges, beyond which the outermost cell goes on; or,
    if ``aligned``, the first and last pixel lie on the first and last cell.
    """
    if aligned:
        position = np.arange(size) * (cells - 1) / max(size - 1, 1)
    else:
        position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    low = np.minimum(np.floor(position).astype(np.int64), cells - 1)
    high = np.minimum(low + 1, cells - 1)
    weight = position - low
    matrix = np.zeros((size, cells))
    np.add.at(matrix, (np.arange(size), low), 1 - weight)
    np.add.at(matrix, (np.arange(size), high), weight)
    return matrix


def gaussian_matrix(size: int, deviation: float) -> np.ndarray:
    """G (size, size) float64: truncated Gaussian whose samples beyond a border are mirrored.

    The mirror repeats the edge sample (d c b a | a b c d | d c b a), scipy's ``reflect``.
    """
    if deviation == 0:
        return np.eye(size)
    radius = int(TRUNCATE * deviation + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / deviation) ** 2)
    kernel /= kernel.sum()
    matrix = np.zeros((size, size))
    for row in range(size):
        folded = (row + offsets) % (2 * size)
        columns = np.where(folded < size, folded, 2 * size - 1 - folded)
        np.add.at(matrix[row], columns, kernel)
    return matrix


def map_matrix(size: int, cells: int, deviation: float) -> np.ndarray:
    """Return A = G R (size, cells) float32 of one axis."""
    product = gaussian_matrix(size, deviation) @ resize_matrix(size, cells)
    return np.asarray(product, dtype=np.float32)
