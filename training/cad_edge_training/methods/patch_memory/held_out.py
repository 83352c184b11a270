"""Scales and calibration from held-out normals: no other image has a say in them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cad_edge.calibration import Calibration, find_outliers
from cad_edge_training.folds import Folds
from cad_edge_training.learned import LearningRequest
from cad_edge_training.methods.patch_memory.config import Config
from cad_edge_training.methods.patch_memory.features import Features, fit_banks
from cad_edge_training.methods.patch_memory.model import (
    Evidence,
    MemoryBank,
    Scale,
    image_score,
    local_score,
    patch_maps,
)
from cad_edge_training.methods.patch_memory.subspace import fit_subspace, left_out_lengths
from cad_edge_training.patch_calibration import calibrate_maps, frame_maps
from cad_edge_training.patch_features import grid_of

BORDER_SHARE = 14  # the border is one patch deep on a grid of 14, two on one of 28
PARTS = 64  # at most so many Gaussians are fitted for the lengths of held-out images


@dataclass(frozen=True)
class HeldOut:
    """Raw values of images whose fold took no part in what judges them."""

    evidence: Evidence
    images: np.ndarray[tuple[int], np.dtype[np.int64]]
    """(n,) place of each among the training images."""

    def of(self, chosen: Tensor) -> Evidence:
        """Evidence of the images ``chosen`` (n,) bool."""
        length = self.evidence.length
        return Evidence(
            tuple(distance[chosen] for distance in self.evidence.distances),
            self.evidence.grids,
            None if length is None else length[chosen],
        )


def hold_out(request: LearningRequest, config: Config, features: Features) -> HeldOut:
    """Fit memory banks once per fold and measure the images of that fold."""
    distances: list[tuple[Tensor, ...]] = []
    images = []
    for number, (fitted, held) in enumerate(request.folds.splits()):
        tensors = fit_banks(features.of(torch.from_numpy(fitted)), config, request.seed)
        seen = features.of(torch.from_numpy(held))
        banks = [MemoryBank.of(tensors, spec) for spec in config.memories]
        distances.append(tuple(bank.distance(seen.banks[bank.spec.name]) for bank in banks))
        images.append(held)
        request.progress("held-out scores", number + 1, request.folds.count)
    order = np.concatenate(images)
    grids = tuple(grid_of(features.banks[spec.name]) for spec in config.memories)
    joined = tuple(torch.cat(parts) for parts in zip(*distances, strict=True))
    return HeldOut(Evidence(joined, grids, _lengths(request, config, features, order)), order)


def _lengths(
    request: LearningRequest,
    config: Config,
    features: Features,
    held_out: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> Tensor | None:
    """Lengths (m,) of the held-out images, in their order."""
    if features.statistics is None:
        return None
    rank, shrinkage = config.statistics_rank, config.statistics_shrinkage
    index = torch.from_numpy(held_out)
    if request.folds.scheme == "split":
        learned = features.statistics[torch.from_numpy(request.folds.learned())]
        return fit_subspace(learned, rank, shrinkage).length(features.statistics[index])
    parts = parts_of(request.folds, request.groups)
    return left_out_lengths(features.statistics, parts, rank, shrinkage)[index]


def parts_of(folds: Folds, groups: tuple[str, ...] | None) -> Tensor:
    """Parts (n,) int64 that are left out one by one: groups or images, at most `PARTS` of them."""
    names: list[object] = [*range(len(folds.members))] if groups is None else [*groups]
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([place[name] % PARTS for name in names])


def fit_scales(config: Config, held_out: HeldOut, keep_outliers: bool) -> dict[str, Tensor]:
    """Shift and gain of every part of the score, as ``scale/<part>/shift`` and ``/gain``.

    Outliers stretch the very scale that they are found on, so that they are looked for on one
    that does not move with a few images, and left out of the scales that are kept.
    """
    every = torch.ones(len(held_out.images), dtype=torch.bool)
    if keep_outliers:
        return _scales(held_out.of(every), config, standard_scale)
    robust = _scales(held_out.of(every), config, robust_scale)
    scores = _scores(held_out.of(every), robust, config)
    used = torch.from_numpy(~find_outliers(scores.double().numpy()))
    return _scales(held_out.of(used), config, standard_scale)


def _scales(
    evidence: Evidence, config: Config, scale: Callable[[Tensor], Scale]
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    grids = evidence.grids
    for spec, distance, grid in zip(config.memories, evidence.distances, grids, strict=True):
        whole = standard_scale(distance)
        shift = whole.shift + border_excess(distance, grid)
        found |= Scale(shift, whole.gain).tensors(f"patch/{spec.name}")
    maps = patch_maps(evidence, found, config)
    for spec, patches in zip(config.memories, maps, strict=True):
        found |= scale(patches.amax(dim=1)).tensors(f"highest/{spec.name}")
    found |= scale(local_score(maps, found, config)).tensors("local")
    if evidence.length is not None:
        found |= scale(evidence.length).tensors("global")
    return found


def _scores(evidence: Evidence, scales: Mapping[str, Tensor], config: Config) -> Tensor:
    return image_score(patch_maps(evidence, scales, config), evidence.length, scales, config)


def border_excess(distance: Tensor, grid: tuple[int, int]) -> Tensor:
    """By how much normal distances at the border of the grid exceed those inside it.

    A trunk that pads with zeros sees a step at the border of every frame, which no memory of the
    inside explains. Products on a plain ground have small distances there; nothing is added to
    those.

    Parameters
    ----------
    distance
        (n, n_patches) of held-out normals.
    grid
        Height and width in patches.

    Returns
    -------
    Tensor
        (n_patches,) float32, zero inside the border, never negative.
    """
    mean = distance.double().mean(dim=0).reshape(grid)
    border = torch.ones(grid, dtype=torch.bool)
    rows, columns = (max(1, size // BORDER_SHARE) for size in grid)
    border[rows : grid[0] - rows, columns : grid[1] - columns] = False
    inside = mean[~border]
    if not len(inside):
        return torch.zeros(grid[0] * grid[1])
    excess = torch.where(border, (mean - inside.mean()).clamp_min(0), torch.zeros_like(mean))
    return excess.flatten().float()


def standard_scale(values: Tensor) -> Scale:
    """Scale of values of any shape to mean 0 and deviation 1."""
    wide = values.double()
    deviation = float(wide.std()) if wide.numel() > 1 else 0.0
    return Scale(torch.tensor(float(wide.mean())), torch.tensor(1 / max(deviation, 1e-6)))


def robust_scale(values: Tensor) -> Scale:
    """Scale by median and median absolute deviation, which a few odd values do not move."""
    wide = values.double()
    median = wide.median()
    deviation = 1.4826 * float((wide - median).abs().median())
    return Scale(torch.tensor(float(median)), torch.tensor(1 / max(deviation, 1e-6)))


def calibration_of(
    request: LearningRequest, config: Config, held_out: HeldOut, scales: Mapping[str, Tensor]
) -> Calibration:
    """Scores and maps of the held-out images, as the finished model would compute them."""
    evidence = held_out.evidence
    maps = patch_maps(evidence, scales, config)
    summed = sum(
        frame_maps(request, patches.reshape(-1, *grid), config.smoothing) / len(maps)
        for patches, grid in zip(maps, evidence.grids, strict=True)
    )
    scores = image_score(maps, evidence.length, scales, config)
    return calibrate_maps(request, held_out.images, scores, np.asarray(summed, np.float32))
