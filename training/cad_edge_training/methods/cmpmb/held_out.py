"""Centres of the sigmoids and calibration from held-out normals: no other image has a say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cad_edge.calibration import Calibration
from cad_edge_training.learned import Images, LearningRequest
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.features import Features, extract, fit_bank
from cad_edge_training.methods.cmpmb.model import Evidence, bank_distance, fused_map
from cad_edge_training.methods.cmpmb.normalisation import sigmoid_centres
from cad_edge_training.patch_calibration import calibrate_patches
from cad_edge_training.patch_features import grid_of


@dataclass(frozen=True)
class HeldOut:
    """Raw values of images whose fold took no part in the memory bank that judges them."""

    evidence: Evidence
    images: np.ndarray[Any, np.dtype[np.int64]]
    """(n,) place of each among the training images."""


def hold_out(request: LearningRequest, config: Config, features: Features) -> HeldOut:
    """Fit once per fold and measure the images of that fold."""
    distances, text, images = [], [], []
    for number, (fitted, held) in enumerate(request.folds.splits()):
        bank = fit_bank(features.of(torch.from_numpy(fitted)), config, request.seed)
        seen = features.of(torch.from_numpy(held))
        distances.append(bank_distance(seen.patches, bank))
        if seen.text is not None:
            text.append(seen.text)
        images.append(held)
        request.progress("held-out scores", number + 1, request.folds.count)
    evidence = Evidence(
        torch.cat(distances), torch.cat(text) if text else None, grid_of(features.patches)
    )
    return HeldOut(evidence, np.concatenate(images))


def fit_centres(
    request: LearningRequest, config: Config, features: Features, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Search the centres b of ANM on the first fold's images, which its bank has not seen.

    Returns
    -------
    dict
        ``anm/patch`` and, with a text branch, ``anm/text``: () float32. Nothing without ANM.
    """
    if config.normalisation == "none":
        return {}
    fitted, held = next(request.folds.splits())
    bank = fit_bank(features.of(torch.from_numpy(fitted)), config, request.seed)

    def raw_maps(images: Images) -> tuple[Tensor, Tensor | None]:
        seen = extract(request.backbone, images, config, tensors, request.progress)
        grid = grid_of(seen.patches)
        text = None if seen.text is None else seen.text.reshape(-1, *grid)
        return bank_distance(seen.patches, bank).reshape(-1, *grid), text

    return sigmoid_centres(request.images[held], raw_maps, config, request.seed)


def calibration_of(
    request: LearningRequest, config: Config, held_out: HeldOut, centres: Mapping[str, Tensor]
) -> Calibration:
    """Scores and maps of the held-out images, as the finished model would compute them."""
    evidence = held_out.evidence
    patches = fused_map(evidence, centres, config)
    on_grid = patches.reshape(-1, *evidence.grid)
    return calibrate_patches(request, on_grid, held_out.images, config.smoothing)
