"""Patches of an image: feature maps of several blocks of a frozen backbone, joined on one grid."""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import Images, Progress

BATCH = 16  # images per pass through the backbone


def patch_features(
    backbone: Backbone, states: Mapping[int, Tensor], blocks: tuple[int, ...]
) -> Tensor:
    """Concatenated features of ``blocks`` at the deepest one's grid.

    Parameters
    ----------
    states
        Hidden states by block, from `Backbone.run`.
    blocks
        At least one, ascending.

    Returns
    -------
    Tensor
        (batch, channels, grid height, grid width) float32.
    """
    maps = [backbone.feature_map(states[block]) for block in blocks]
    height, width = grid_of(maps[-1])
    return torch.cat([to_grid(features, height, width) for features in maps], dim=1)


def batches(images: Images, progress: Progress) -> Iterator[Tensor]:
    """Yield images (n, height, width, 3) uint8 some at a time, and say how many are done."""
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH])
        yield batch
        progress("features", start + len(batch), len(images))


def in_batches(images: Images, run: Callable[[Tensor], Tensor], progress: Progress) -> Tensor:
    """Join what ``run`` gives for `batches` of images, without gradients."""
    with torch.no_grad():
        return torch.cat([run(batch) for batch in batches(images, progress)])


def to_grid(features: Tensor, height: int, width: int) -> Tensor:
    """Average features (batch, channels, h, w) over the cells of a coarser grid."""
    if features.shape[-2:] == (height, width):
        return features
    return functional.adaptive_avg_pool2d(features, (height, width))


def as_patches(features: Tensor) -> Tensor:
    """(batch, channels, h, w) to (batch, h * w, channels)."""
    return features.flatten(2).transpose(1, 2)


def grid_of(features: Tensor) -> tuple[int, int]:
    """Height and width of features (batch, channels, h, w)."""
    return int(features.shape[2]), int(features.shape[3])


def highest(cells: Tensor, share: float) -> Tensor:
    """Mean (n,) of the highest ``share`` of cells (n, cells), of one at least."""
    count = max(1, math.ceil(share * cells.shape[1] - 1e-9))
    return cells.topk(count, dim=1).values.mean(1)
