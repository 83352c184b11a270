"""Scales that bring the error of an expert to the units of held-out good parts.

Every cell of a map has its own mean and deviation, and what a level says of an image, the mean of
its highest cells, has one of each. A held-out part is scaled by the other ones, since its own say
would make it look more usual than a new part does.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cad_edge.calibration import find_outliers
from cad_edge_training.methods.anomaly_moe.fitted import Weights
from cad_edge_training.patch_features import highest

PARTS = 5  # in which held-out parts are scaled by one another
POOLED = 0.2  # share of the mean variance in that of a cell; few images say little about one
LEAST = 1e-6
NAMES = ("shift", "gain", "level_shift", "level_gain")


@dataclass(frozen=True)
class LevelScale:
    """Of one expert."""

    shift: Tensor
    """(cells,) mean error of each cell, of the component level of each component."""
    gain: Tensor
    """(cells,)"""
    level_shift: Tensor
    """()"""
    level_gain: Tensor
    """()"""

    @staticmethod
    def of(tensors: Weights) -> "LevelScale":
        """Read what `tensors` wrote."""
        return LevelScale(*(tensors[name] for name in NAMES))

    def tensors(self) -> dict[str, Tensor]:
        """Tensors by the names of the fields."""
        return {name: getattr(self, name) for name in NAMES}

    def cells(self, errors: Tensor) -> Tensor:
        """Scale errors (n, cells)."""
        return (errors - self.shift) * self.gain

    def level(self, said: Tensor) -> Tensor:
        """Scale what the level says (n,)."""
        return (said - self.level_shift) * self.level_gain


def level_and_map(
    scale: LevelScale, errors: Tensor, members: Tensor | None, share: float
) -> tuple[Tensor, Tensor]:
    """Scaled word (n,) of an expert on the image, and its scaled map (n, p).

    Parameters
    ----------
    errors, members
        Of `ExpertErrors`. An error of a component is painted on the cells that belong to it, and
        the image is judged by the mean over components; elsewhere by the highest cells.
    share
        Of the cells, the highest.
    """
    cells = scale.cells(errors)
    return scale.level(level_statistic(errors, cells, members, share)), painted(cells, members)


def level_statistic(errors: Tensor, cells: Tensor, members: Tensor | None, share: float) -> Tensor:
    """Judge the image (n,), before `LevelScale.level`."""
    return highest(cells, share) if members is None else errors.mean(1)


def painted(cells: Tensor, members: Tensor | None) -> Tensor:
    """Map (n, p) of scaled cells, or of components whose ``members`` are (n, K, p)."""
    return cells if members is None else (cells[:, None] @ members)[:, 0]


def cell_scale(errors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (cells,) and 1 / deviation (cells,) of errors (n, cells), n >= 1."""
    wide = errors.double()
    variance = wide.var(0, unbiased=False)
    pooled = (1 - POOLED) * variance + POOLED * variance.mean()
    return wide.mean(0).float(), (1 / pooled.sqrt().clamp_min(LEAST)).float()


def cross_scaled(errors: Tensor, parts: Tensor) -> Tensor:
    """Scale errors (n, cells), each by the `cell_scale` of those in other ``parts`` (n,) int64."""
    found = torch.empty_like(errors)
    for part in sorted(set(parts.tolist())):
        own = parts == part
        shift, gain = cell_scale(errors[~own] if bool((~own).any()) else errors)
        found[own] = (errors[own] - shift) * gain
    return found


def level_scale(said: Tensor, keep_outliers: bool) -> tuple[Tensor, Tensor]:
    """Mean () and 1 / deviation () of what a level says (n,); odd ones have no say unless kept."""
    wide = said.double()
    if not keep_outliers:
        wide = wide[torch.from_numpy(~find_outliers(wide.numpy()))]
    deviation = max(float(wide.std(unbiased=False)), LEAST)
    return wide.mean().float(), torch.tensor(1 / deviation)


def parts_of(count: int, seed: int) -> Tensor:
    """Draw the part (count,) int64 of each held-out image."""
    order = np.random.default_rng(seed).permutation(count)
    return torch.from_numpy(order % min(PARTS, max(count, 1)))
