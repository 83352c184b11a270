"""What the experts of folds say of held-out good parts: weights of levels, scales, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cad_edge_training.folds import Index
from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.discriminant import NEVER, log_weight
from cad_edge_training.methods.anomaly_moe.fitted import Weights
from cad_edge_training.methods.anomaly_moe.fitted_pool import ExpertErrors, FrozenFeatures, named
from cad_edge_training.methods.anomaly_moe.pool import Key, Pool, experts_in
from cad_edge_training.methods.anomaly_moe.routing import DEVIATION, unweighted_logits
from cad_edge_training.methods.anomaly_moe.scales import (
    LevelScale,
    cell_scale,
    cross_scaled,
    level_scale,
    level_statistic,
    painted,
)

LEAST_PARTS = 4  # held-out parts of an expert; with fewer it is scaled by all of the product


class FoldErrors(NamedTuple):
    """What every expert of a pool says of the held-out parts of a fold."""

    said: dict[Key, ExpertErrors]
    logits: Tensor
    """(m, levels * experts), the weights of levels not yet added."""
    places: Index
    """(m,) place of each among the product's images."""

    @staticmethod
    def of(pool: Pool, seen: FrozenFeatures, places: Index) -> "FoldErrors":
        """Ask every expert that there is."""
        projected = pool.project(seen)
        said = {key: pool.expert_errors(*key, seen, projected) for key in experts_in(pool.tensors)}
        logits = unweighted_logits(named(pool.tensors, "router"), seen.descriptors)
        return FoldErrors(said, logits, places)


class HeldOut(NamedTuple):
    """What was heard of all held-out parts of a product, in the order of their folds."""

    said: dict[Key, ExpertErrors]
    logits: Tensor
    places: Index

    @staticmethod
    def of(parts: Sequence[FoldErrors]) -> "HeldOut":
        """Join folds."""
        said = {}
        for key in parts[0].said:
            errors, members, squares = zip(*(part.said[key] for part in parts), strict=True)
            present = [one for one in members if one is not None]
            said[key] = ExpertErrors(
                torch.cat(errors), torch.cat(present) if present else None, torch.cat(squares)
            )
        return HeldOut(
            said,
            torch.cat([part.logits for part in parts]),
            np.concatenate([part.places for part in parts]),
        )


def explained(held_out: HeldOut, experts: int) -> dict[str, Tensor]:
    """R^2 (experts,) of every level on the held-out parts that its router gives to each expert.

    1 - (mean squared error) / (that of the expert's constant predictor); 0 for the patch level, for
    a predictor that is never wrong, and for an expert that is not there.
    """
    found: dict[str, Tensor] = {}
    for place, level in enumerate(LEVELS):
        own = held_out.logits[:, place * experts : (place + 1) * experts].argmax(1)
        values = []
        for number in range(experts):
            if (level, number) not in held_out.said:
                values.append(0.0)
                continue
            squares = held_out.said[level, number].squares
            mine = squares[own == number]
            error, constant = (mine if len(mine) >= 2 else squares).mean(0).tolist()
            values.append(1 - error / constant if constant > 0 else 0.0)
        found[level] = torch.tensor(values)
    return found


def log_weights(router: Weights, explained_by: Weights, config: Config) -> dict[str, Tensor]:
    """``<level>/log_weight`` (experts,) of the router; see `log_weight`.

    That of levels which are not asked is `NEVER`. None for drawn experts, whose router has learned
    by itself what a level weighs.
    """
    if DEVIATION in router:
        return {}
    found = {}
    for level in LEVELS:
        values = [
            0.0 if level == "patch" else log_weight(one) for one in explained_by[level].tolist()
        ]
        asked = level in config.levels
        found[f"{level}/log_weight"] = torch.tensor(values if asked else [NEVER] * len(values))
    return found


@dataclass(frozen=True)
class ScaledScores:
    """Scales, and what held-out parts give by them, none of which had a say in its own."""

    scales: dict[Key, LevelScale]
    scores: Tensor
    """(m,)"""
    maps: Tensor
    """(m, p)"""


def fit_scales(
    held_out: HeldOut, gate: Tensor, parts: Tensor, config: Config, keep_outliers: bool
) -> ScaledScores:
    """Scale every expert that is chosen, from the parts that choose it.

    With image routing all are scaled, since frames may choose what no held-out part does.

    Parameters
    ----------
    gate
        (m, levels * experts) of the held-out parts.
    parts
        (m,) int64, from `scales.parts_of`.
    """
    experts = gate.shape[1] // len(LEVELS)
    scales: dict[Key, LevelScale] = {}
    scores, maps = torch.zeros(len(gate)), torch.zeros(len(gate), 0)
    for key, said in held_out.said.items():
        level, number = key
        own = gate[:, LEVELS.index(level) * experts + number]
        chosen = own > 0
        if config.routing_at == "product" and not bool(chosen.any()):
            continue
        used = chosen if int(chosen.sum()) >= LEAST_PARTS else torch.ones_like(chosen)
        crossed = torch.zeros_like(said.errors)
        crossed[used] = cross_scaled(said.errors[used], parts[used])
        heard = level_statistic(said.errors, crossed, said.members, config.share)
        shift, gain = cell_scale(said.errors[used])
        scale = LevelScale(shift, gain, *level_scale(heard[used], keep_outliers))
        scales[key] = scale
        located = painted(crossed, said.members)
        scores = scores + own * scale.level(heard)
        maps = (maps if maps.numel() else torch.zeros_like(located)) + own[:, None] * located
    return ScaledScores(scales, scores, maps)
