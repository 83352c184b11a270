"""Experts of an artifact as tensors that a head takes."""

from typing import Any

import numpy as np

from cad_edge.store.artifact import Tensors
from cad_edge_training.methods.anomaly_moe.config import LEVELS, RoutingAt
from cad_edge_training.methods.anomaly_moe.model import PRODUCT_GATES
from cad_edge_training.methods.anomaly_moe.pool import experts_in
from cad_edge_training.methods.anomaly_moe.result import EXPLAINED
from cad_edge_training.methods.anomaly_moe.routing import DEVIATION

STACKED = "stacked"
"""``stacked/<level>/...``: weights of all experts of a level, and ``scale/...`` below it."""

NEEDED_BY = {
    **dict.fromkeys(("projection", "bias"), ("component", "global")),
    **dict.fromkeys(("centres", "geometry_mean", "geometry_gain"), ("component",)),
    **dict.fromkeys(("pixel_scale", "pixel_offset"), ("global",)),
}
"""Levels that look at a tensor of ``space``; at others all do."""


def bound(learned: Tensors, routing_at: RoutingAt) -> Tensors:
    """Tensors of an artifact as the head takes them, under names that a graph can have.

    Figures about held-out parts stay behind. With product routing experts get numbers from 0 on, so
    that products which chose different ones have one graph. With image routing the experts of a
    level and their scales are stacked, but drawn ones for the whole.
    """
    if routing_at == "product":
        kept = _renumbered(learned)
    else:
        kept = {
            name: one for name, one in learned.items() if name.startswith(("space/", "router/"))
        }
        drawn = f"router/{DEVIATION}" in learned
        for level in LEVELS:
            if drawn and level == "global":
                own = (f"{level}/", f"scale/{level}/")
                kept |= {name: one for name, one in learned.items() if name.startswith(own)}
            else:
                stacked = _stack(learned, level).items()
                kept |= {f"{STACKED}/{level}/{name}": one for name, one in stacked}
    levels = {level for level, _ in experts_in(learned)}
    return {
        name.replace("/", "."): np.array(value, dtype=np.float32, order="C")
        for name, value in sorted(kept.items())
        if _is_needed(name, levels)
    }


def _is_needed(name: str, levels: set[str]) -> bool:
    """Whether experts of ``levels`` look at a tensor; a graph has no inputs that none looks at."""
    owner, _, own = name.partition("/")
    return owner != "space" or bool(levels.intersection(NEEDED_BY.get(own, LEVELS)))


def _renumbered(learned: Tensors) -> Tensors:
    """Give the experts of each level numbers from 0 on; gates are those of equally many a level."""
    chosen = {
        level: [one for owner, one in experts_in(learned) if owner == level] for level in LEVELS
    }
    most = max(map(len, chosen.values()))
    before = learned[PRODUCT_GATES].reshape(len(LEVELS), -1)
    weights = np.zeros((len(LEVELS), most), np.float32)
    found: Tensors = {name: one for name, one in learned.items() if name.startswith("space/")}
    for place, (level, numbers) in enumerate(chosen.items()):
        weights[place, : len(numbers)] = before[place, numbers]
        for new, old in enumerate(numbers):
            for start in (level, f"scale/{level}"):
                own = f"{start}/{old}/"
                found |= {
                    f"{start}/{new}/{name.removeprefix(own)}": one
                    for name, one in learned.items()
                    if name.startswith(own)
                }
    return found | {PRODUCT_GATES: weights.reshape(-1)}


def _stack(learned: Tensors, level: str) -> Tensors:
    """Stack the experts of a level and their scales; for one that was dropped stands the first."""
    count = len(learned[f"{EXPLAINED}/{level}"])
    there = [number for owner, number in experts_in(learned) if owner == level]
    if not there:
        return {}
    parts: dict[str, list[np.ndarray[Any, Any]]] = {}
    for number in range(count):
        source = number if number in there else there[0]
        for prefix, start in ((f"{level}/{source}/", ""), (f"scale/{level}/{source}/", "scale/")):
            for name, value in sorted(learned.items()):
                if name.startswith(prefix):
                    parts.setdefault(start + name.removeprefix(prefix), []).append(value)
    # A number of each expert is an axis of one in the artifact.
    stacked = {name: np.stack(values) for name, values in parts.items()}
    return {
        name: value.reshape(count) if "level_" in name else value for name, value in stacked.items()
    }
