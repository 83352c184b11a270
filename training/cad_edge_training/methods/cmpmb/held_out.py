"""Scales and calibration from held-out normals: no other image has a say in them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cad_edge.calibration import Calibration
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.learned import Images, Request
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.features import Features, extract, fit
from cad_edge_training.methods.cmpmb.memory import Subspace
from cad_edge_training.methods.cmpmb.model import (
    Evidence,
    Memory,
    Scale,
    grid_of,
    image_score,
    located,
    patch_maps,
    top_mean,
)
from cad_edge_training.methods.cmpmb.normalisation import sigmoid_scales

BORDER_SHARE = 14  # the border is one patch deep on a grid of 14, two on one of 28


@dataclass(frozen=True)
class HeldOut:
    """Raw values of images whose fold took no part in the memories that judge them."""

    evidence: Evidence
    length: Tensor | None
    """(n,) Mahalanobis length of the channel statistics."""


def hold_out(request: Request, config: Config, features: Features) -> HeldOut:
    """Fit once per fold and measure the images of that fold."""
    parts = []
    for number, (fitted, held) in enumerate(request.folds.splits()):
        tensors = fit(features.of(torch.from_numpy(fitted)), config, request.seed)
        parts.append(measure(features.of(torch.from_numpy(held)), config, tensors))
        request.progress("held-out scores", number + 1, request.folds.count)
    evidence = [part.evidence for part in parts]
    lengths = [part.length for part in parts if part.length is not None]
    text = [one.text for one in evidence if one.text is not None]
    return HeldOut(
        Evidence(
            tuple(
                torch.cat([one.distances[index] for one in evidence])
                for index in range(len(config.memories))
            ),
            evidence[0].grids,
            None,
            torch.cat(text) if text else None,
        ),
        torch.cat(lengths) if lengths else None,
    )


def measure(features: Features, config: Config, tensors: Mapping[str, Tensor]) -> HeldOut:
    """Raw values of images (n) under fitted tensors."""
    memories = [Memory.of(tensors, spec, index) for index, spec in enumerate(config.memories)]
    groups = [features.groups[memory.spec.group] for memory in memories]
    distances = [m.distance(values) for m, values in zip(memories, groups, strict=True)]
    length = None
    if features.statistics is not None:
        length = Subspace.of(tensors).length(features.statistics)
    grids = tuple(grid_of(values) for values in groups)
    return HeldOut(Evidence(tuple(distances), grids, None, features.text), length)


def fit_scales(
    request: Request,
    config: Config,
    features: Features,
    held_out: HeldOut,
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Shift and gain of every part of the score, as ``scale/<part>/shift`` and ``/gain``."""
    evidence = held_out.evidence
    if config.normalisation == "sigmoid":
        scales = _search_sigmoids(request, config, features, tensors)
    else:
        scales = {}
        for index, (distance, grid) in enumerate(
            zip(evidence.distances, evidence.grids, strict=True)
        ):
            scale = standard_scale(distance)
            if config.border_correction:
                scale = Scale(scale.shift + border_excess(distance, grid), scale.gain)
            scales |= scale.tensors(f"patch/{index}")
        if evidence.text is not None:
            scales |= standard_scale(evidence.text).tensors("text")
    for index, patches in enumerate(patch_maps(evidence, scales, config)):
        top = top_mean(patches, config.top_fraction)
        scales |= standard_scale(top).tensors(f"local/{index}")
    if held_out.length is not None:
        scales |= standard_scale(held_out.length).tensors("global")
    return scales


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
    depth = torch.ones(grid, dtype=torch.bool)
    rows, columns = (max(1, size // BORDER_SHARE) for size in grid)
    depth[rows : grid[0] - rows, columns : grid[1] - columns] = False
    inside = mean[~depth]
    if not len(inside):
        return torch.zeros(grid[0] * grid[1])
    excess = torch.where(depth, (mean - inside.mean()).clamp_min(0), torch.zeros_like(mean))
    return excess.flatten().float()


def _search_sigmoids(
    request: Request, config: Config, features: Features, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Search the centres on the first fold's images, which its memory has not seen."""
    fitted, held = next(request.folds.splits())
    fold = fit(features.of(torch.from_numpy(fitted)), config, request.seed)

    def raw_maps(images: Images) -> tuple[Tensor, Tensor | None]:
        seen = extract(request.backbone, images, config, tensors, request.progress)
        evidence = measure(seen, config, fold).evidence
        grid = evidence.grids[0]
        text = None if evidence.text is None else evidence.text.reshape(-1, *grid)
        return evidence.distances[0].reshape(-1, *grid), text

    found = sigmoid_scales(request.images[held], raw_maps, config, request.seed)
    names = {"scale/patch": "patch/0", "scale/text": "text"}
    scales: dict[str, Tensor] = {}
    for name, shift_gain in found.items():
        scales |= Scale(shift_gain[0].clone(), shift_gain[1].clone()).tensors(names[name])
    return scales


def standard_scale(values: Tensor) -> Scale:
    """Scale of values of any shape to mean 0 and deviation 1."""
    wide = values.double()
    gain = 1.0 / max(float(wide.std()), 1e-6)
    return Scale(torch.tensor(float(wide.mean())), torch.tensor(gain))


def calibrate(
    request: Request, config: Config, held_out: HeldOut, scales: Mapping[str, Tensor]
) -> Calibration:
    """Scores and map peaks of the held-out images, as the finished model would compute them."""
    evidence = held_out.evidence
    maps = patch_maps(evidence, scales, config)
    score = image_score(maps, held_out.length, scales, config)
    recipe = request.backbone.recipe
    summed = np.zeros((len(score), recipe.height, recipe.width), dtype=np.float32)
    for patches, grid in zip(maps, evidence.grids, strict=True):
        rows = map_matrix(recipe.height, grid[0], config.smoothing)
        columns = map_matrix(recipe.width, grid[1], config.smoothing)
        shown = located(patches, config).reshape(-1, *grid).numpy()
        summed += rows @ shown @ columns.T / len(maps)
    return Calibration(
        scheme=request.folds.scheme,
        folds=request.folds.count,
        scores=sorted(float(value) for value in score),
        map_peaks=sorted(float(peak) for peak in summed.max(axis=(1, 2))),
        groups=request.folds.groups,
    )
