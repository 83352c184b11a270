"""Maps of one size to another: bilinear as products with constant matrices (METHODS 0.4)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cad_edge_training.gaussian import Resize, resize_matrix


class Taps(NamedTuple):
    """Which features an entry hands on besides the last, and how they come to one grid."""

    blocks: tuple[int, ...]
    cells: int
    """A side of the grid."""
    resize: Resize


def aligned_matrix(out: int, size: int) -> Tensor:
    """Weights (out, size) float32 of bilinear resizing whose corners are aligned."""
    return torch.from_numpy(resize_matrix(out, size, aligned=True)).float()


def box_matrix(size: int, window: int) -> Tensor:
    """Weights (size - window + 1, size) float32 of means over windows at every place."""
    count = size - window + 1
    places = torch.arange(size)[None] - torch.arange(count)[:, None]
    return ((places >= 0) & (places < window)).float() / window


def resized(features: Tensor, cells: int, resize: Resize) -> Tensor:
    """Resize features (batch, channels, h, w) to (batch, channels, cells, cells)."""
    height, width = int(features.shape[2]), int(features.shape[3])
    if (height, width) == (cells, cells):
        return features
    if resize == "area":
        return functional.avg_pool2d(features, height // cells)
    return aligned_matrix(cells, height) @ features @ aligned_matrix(cells, width).T


def joined(maps: Sequence[Tensor], cells: int, resize: Resize) -> Tensor:
    """Features of several blocks on one grid, (batch, channels of all, cells, cells)."""
    return torch.cat([resized(one, cells, resize) for one in maps], dim=1)
