"""Image routing: every image is judged by the experts that its own descriptor chooses."""

from typing import NamedTuple

import torch
from torch import Tensor

from cad_edge_export.fusions.anomaly_moe.expert_tensors import STACKED
from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.fitted_pool import FrozenFeatures, named
from cad_edge_training.methods.anomaly_moe.gates import gates
from cad_edge_training.methods.anomaly_moe.model import Prediction, scales_in
from cad_edge_training.methods.anomaly_moe.pool import Pool
from cad_edge_training.methods.anomaly_moe.routing import logits_of
from cad_edge_training.methods.anomaly_moe.scales import LevelScale, level_and_map


class FoldErrors(NamedTuple):
    """What an expert says of n images, or of every image one of its own."""

    gate: Tensor
    """(n,)"""
    value: Tensor
    """(n,)"""
    cells: Tensor
    """(n, p)"""


def judge_routed(pool: Pool, seen: FrozenFeatures, config: Config) -> Prediction:
    """Ask the experts that are chosen; what one with gate 0 says has no effect.

    Of a level whose experts are stacked every image gathers its own; of others all run.
    """
    weights = gates(logits_of(named(pool.tensors, "router"), seen.descriptors), config)
    by_level = weights.reshape(weights.shape[0], len(LEVELS), -1)
    projected = pool.project(seen)
    levels, maps = [], []
    for place, level in enumerate(LEVELS):
        stacked = any(name.startswith(f"{STACKED}/{level}/") for name in pool.tensors)
        ask = _gathered if stacked else _all_of
        said, located = by_level[:, place, 0] * 0, seen.patches[..., 0] * 0
        for one in ask(level, by_level[:, place], pool, seen, projected, config):
            gate = one.gate[:, None]
            said = said + torch.where(one.gate > 0, one.gate * one.value, 0.0)
            located = located + torch.where(gate > 0, gate * one.cells, 0.0)
        levels.append(said)
        maps.append(located.reshape(-1, *pool.grid))
    added = torch.stack(levels, dim=1)
    return Prediction(added.sum(1), added, torch.stack(maps, dim=1))


def _gathered(
    level: str, weights: Tensor, pool: Pool, seen: FrozenFeatures, projected: Tensor, config: Config
) -> list[FoldErrors]:
    """Gather as many experts as can be chosen of a level, by gates ``weights`` (n, experts)."""
    stacked = named(pool.tensors, f"{STACKED}/{level}")
    slots = min(config.top_k if config.routing == "top_k" else 1, weights.shape[1])
    values, chosen = weights.topk(slots, dim=1)
    heard = []
    for slot in range(slots):
        own = {name: one.index_select(0, chosen[:, slot]) for name, one in stacked.items()}
        said = pool.errors_with(level, own, seen, projected)
        scale = LevelScale.of(named(own, "scale"))
        found = level_and_map(scale, said.errors, said.members, config.share)
        heard.append(FoldErrors(values[:, slot], *found))
    return heard


def _all_of(
    level: str, weights: Tensor, pool: Pool, seen: FrozenFeatures, projected: Tensor, config: Config
) -> list[FoldErrors]:
    heard = []
    for (owner, number), scale in sorted(scales_in(pool.tensors).items()):
        if owner == level:
            said = pool.expert_errors(level, number, seen, projected)
            found = level_and_map(scale, said.errors, said.members, config.share)
            heard.append(FoldErrors(weights[:, number], *found))
    return heard
