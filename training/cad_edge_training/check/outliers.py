"""Outliers among the good parts, ranked: images that the others do not vouch for.

Every image is judged by the others alone, in four ways, since a defect shows in one or two of them:

* its patches, each by the nearest patch of any other image, against what is usual at its place;
* the same by the third nearest image, and by the k-th nearest, k a tenth of all, as they are, since
  outliers of one kind vouch for each other;
* the statistics of its channels, by their distance to those of the k-th nearest image.

Each way is scaled by its own upper tail, since one with a long tail would drown the others, and a
soft maximum joins them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cad_edge.calibration import robust_z
from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.backbone import channel_statistics
from cad_edge_training.learned import Images
from cad_edge_training.memory_bank import drawn, fit_whitening
from cad_edge_training.patch_features import as_patches, patch_features

BATCH = 16  # images per pass through the trunk
FEWEST = 4  # images; fewer say nothing about what is odd among them
REFERENCES = 64  # images that every image is compared with, spread evenly over all
NEAREST = 3  # the n-th image that has a patch alike
VOUCHING = 0.1  # of the references, as many must have a patch alike
HIGHEST = 3  # patches of an image that are averaged
SHRINKAGE = 0.01  # of the whitening, of the mean eigenvalue
FARTHEST = 10.0  # robust deviations that one statistic may lie out
TAIL = 0.85  # quantile at which a way's upper tail is 1
POWER = 4  # of the soft maximum; two ways that agree count somewhat more than one

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class OutlierRanking:
    """How odd each of n images is among the others."""

    score: Float64
    """(n,) soft maximum of the four ways, each 0 at its median and 1 at its upper tail."""
    robust_z: Float64
    """(n,) the same in robust deviations from the median."""

    def ranking(self) -> list[int]:
        """Numbers of the images, the oddest first."""
        return [int(number) for number in np.argsort(-self.score, kind="stable")]


def rank_outliers(
    images: Images, backbone: Backbone, groups: Sequence[str] | None = None, seed: int = 0
) -> OutlierRanking:
    """Rank good parts by how little the others vouch for them.

    Parameters
    ----------
    images
        (n, height, width, 3) uint8 RGB at the backbone's recipe.
    backbone
        Frozen network.
    groups
        Group of every image; those of its own group do not vouch for it.
    seed
        Of the patches that whitening is fitted to, where there are very many.

    Returns
    -------
    OutlierRanking
        All 0 where fewer than four images, or less than two groups, are there to compare.
    """
    own = np.arange(len(images)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if len(images) < FEWEST or len(np.unique(own)) < 2:
        return OutlierRanking(np.zeros(len(images)), np.zeros(len(images)))
    patches, statistics = _features(images, backbone, seed)
    score = _joined(patches, statistics, own)
    return OutlierRanking(score, robust_z(score))


def _joined(patches: Tensor, statistics: Tensor, own: NDArray[np.int64]) -> Float64:
    """Join the four ways (n,)."""
    first, third, vouched = _distances(patches, own).unbind(dim=2)
    ways = (
        _highest(_at_their_place(first)),
        _highest(_at_their_place(third)),
        _highest(vouched),
        _apart(statistics.double().numpy(), own),
    )
    scaled = np.stack([_tail_scaled(way) for way in ways]).clip(0)
    joined: Float64 = (scaled**POWER).sum(axis=0) ** (1 / POWER)
    return joined


def _features(images: Images, backbone: Backbone, seed: int) -> tuple[Tensor, Tensor]:
    """Whitened patches (n, n_patches, channels) and channel statistics (n, 2 * channels)."""
    # Two blocks in the middle: what is later knows objects, what is earlier edges alone.
    blocks = (7 * backbone.n_blocks // 16, 10 * backbone.n_blocks // 16)
    maps, statistics = [], []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH])
            states = backbone.run(backbone.normalise(batch), blocks[-1])
            maps.append(as_patches(patch_features(backbone, states, blocks)))
            statistics.append(channel_statistics(backbone.feature_map(states[blocks[-1]])))
        patches = torch.cat(maps)
        whitening = fit_whitening(drawn(patches.flatten(0, 1), seed), SHRINKAGE)
        return whitening.apply(patches), torch.cat(statistics)


def _distances(patches: Tensor, own: NDArray[np.int64]) -> Tensor:
    """Distances of every patch to patches of images of other groups.

    Parameters
    ----------
    patches
        (n, n_patches, channels) float32.
    own
        (n,) number of each image's group.

    Returns
    -------
    Tensor
        (n, n_patches, 3) float32: to the nearest image, the third nearest, and the k-th.
    """
    count, size, channels = patches.shape
    chosen = np.linspace(0, count - 1, min(count, REFERENCES)).round().astype(np.int64)
    references = patches[torch.from_numpy(chosen)].reshape(-1, channels)
    squares, transposed = references.square().sum(1), references.T.contiguous()
    ranks = (1, NEAREST, max(1, round(VOUCHING * len(chosen))))
    distances = torch.empty(count, size, len(ranks))
    for number, image in enumerate(patches):
        others = own[chosen] != own[number]
        if not others.any():  # one group has nearly all images, and all references
            others = chosen != number
        squared = torch.addmm(squares, image, transposed, alpha=-2)
        by_image = squared.reshape(size, len(chosen), -1).amin(dim=2)
        ranked = by_image[:, torch.from_numpy(others)].sort(dim=1).values
        places = [min(rank, ranked.shape[1]) - 1 for rank in ranks]
        nearest = ranked[:, places] + image.square().sum(1, keepdim=True)
        distances[number] = nearest.clamp_min(0).sqrt()
    return distances


def _at_their_place(distance: Tensor) -> Tensor:
    """Distances (n, n_patches) against what is usual at their place, where products are aligned.

    Half of the median is taken off, since nothing is aligned perfectly.
    """
    usual = distance.median(dim=0).values
    spread = (distance - usual).abs().median(dim=0).values
    return (distance - usual / 2) / (spread + spread.median()).clamp_min(1e-6)


def _highest(values: Tensor) -> Float64:
    """Mean of the highest patches of every image (n,)."""
    kept = min(HIGHEST, values.shape[1])
    mean: Float64 = values.topk(kept, dim=1).values.mean(dim=1).double().numpy()
    return mean


def _apart(statistics: Float64, own: NDArray[np.int64]) -> Float64:
    """Distance of each image's channel statistics to the k-th nearest image of another group (n,).

    Parameters
    ----------
    statistics
        (n, d) float64.
    own
        (n,) number of each image's group.
    """
    centred = statistics - np.median(statistics, axis=0)
    deviation = 1.4826 * np.median(np.abs(centred), axis=0)
    rows = np.clip(centred / np.maximum(deviation, 1e-6), -FARTHEST, FARTHEST)
    squares = (rows * rows).sum(axis=1)
    squared = squares[:, None] + squares - 2 * rows @ rows.T
    squared[own[:, None] == own] = np.inf
    rank = max(1, round(VOUCHING * len(rows)))
    ranked = np.sort(squared, axis=1)
    others = np.isfinite(ranked).sum(axis=1)
    apart: Float64 = np.sqrt(ranked[np.arange(len(rows)), np.minimum(rank, others) - 1].clip(0))
    return apart


def _tail_scaled(values: Float64) -> Float64:
    """Shift the median to 0 and scale the upper tail to 1; all 0 where there is no tail."""
    middle, tail = np.quantile(values, (0.5, TAIL))
    return (values - middle) / (tail - middle) if tail > middle else np.zeros_like(values)
