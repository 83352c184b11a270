"""Bilinear resizing as products with constant matrices (METHODS 0.4)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def resize_matrix(out: int, size: int) -> Tensor:
    """Weights (out, size) float32 of bilinear resizing whose corners are aligned.

    Row i takes the place i (size - 1) / (out - 1) between two values of the input.
    """
    weights = torch.zeros(out, size, dtype=torch.float64)
    for row in range(out):
        place = row * (size - 1) / (out - 1) if out > 1 else 0.0
        low = min(int(place), size - 1)
        high = min(low + 1, size - 1)
        weights[row, low] += 1 - (place - low)
        weights[row, high] += place - low
    return weights.float()


def box_matrix(size: int, window: int) -> Tensor:
    """Weights (size - window + 1, size) float32 of means over windows at every place."""
    count = size - window + 1
    places = torch.arange(size)[None] - torch.arange(count)[:, None]
    return ((places >= 0) & (places < window)).float() / window


def resized(features: Tensor, cells: int) -> Tensor:
    """Resize features (batch, channels, h, w) to (batch, channels, cells, cells)."""
    height, width = int(features.shape[2]), int(features.shape[3])
    if (height, width) == (cells, cells):
        return features
    return resize_matrix(cells, height) @ features @ resize_matrix(cells, width).T


def joined(maps: Sequence[Tensor], cells: int) -> Tensor:
    """Features of several blocks on one grid, (batch, channels of all, cells, cells)."""
    return torch.cat([resized(one, cells) for one in maps], dim=1)
