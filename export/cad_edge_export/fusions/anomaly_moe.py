"""AnomalyMoE fused: experts of a product as tensors of one head, or all of a step and a router.

Product routing binds the experts that the product's mean descriptor chose, and nothing chooses at
run time. Image routing binds all experts of the step, stacked along a first axis, of which the
descriptor of every frame gathers its own: no If, no Loop, no NonZero, and right for any batch.
Drawn experts with image routing all run, and what has gate 0 says nothing: convolutions of the
whole cannot have a kernel for every image.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_export.fused_task import GraphInput
from cad_edge_export.fusion import Fusion
from cad_edge_export.scoring_head import IMAGE, ScoringFusion, ScoringHead
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.features import (
    descriptor_of,
    features_of,
    group_maps,
    has_class_token,
    layout_of,
)
from cad_edge_training.methods.anomaly_moe.gates import gates
from cad_edge_training.methods.anomaly_moe.model import GATES, Answer, judge, scales_in
from cad_edge_training.methods.anomaly_moe.pool import Seen, ask_expert, named
from cad_edge_training.methods.anomaly_moe.pools import (
    SIZE,
    Pool,
    experts_in,
    pool_of,
    require_size,
)
from cad_edge_training.methods.anomaly_moe.result import AGREEMENT, EXPLAINED
from cad_edge_training.methods.anomaly_moe.routing import DEVIATION, logits_of
from cad_edge_training.methods.anomaly_moe.scales import LevelScale, level_and_map
from cad_edge_training.patch_features import as_patches

DESCRIPTOR = "descriptor"
STACKED = "stacked"


class AnomalyMoEHead(ScoringHead[Config]):
    """Experts of three levels; ``tensors`` are those of `bound`."""

    outputs: ClassVar[tuple[str, ...]] = ("score", "anomaly_map", "levels", "level_maps")

    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, ...]:
        """Score (batch,), map (batch, h, w), levels (batch, 3) and their maps on the grid."""
        maps = group_maps(self.backbone, self.config, states)
        learned = {name.replace(".", "/"): one.float() for name, one in tensors.items()}
        patches = as_patches(torch.cat(maps, dim=1))
        descriptor = self._descriptor(states, learned)
        layout = layout_of(self.backbone, self.config, maps, descriptor.shape[-1])
        pool = pool_of(learned, layout, self.config)
        seen = Seen(patches, descriptor, learned.get(IMAGE))
        if GATES in learned:
            weights = learned[GATES].expand(patches.shape[0], -1)
            answer = judge(pool, seen, scales_in(learned), weights, self.config)
        elif self.config.start == "drawn":
            weights = gates(logits_of(named(learned, "router"), descriptor), self.config)
            answer = judge(pool, seen, scales_in(learned), weights, self.config)
        else:
            answer = judge_routed(pool, seen, self.config)
        located = self.anomaly_map(answer.level_maps.sum(1), self.config.smoothing)
        return answer.score, located, answer.levels, answer.level_maps

    def _descriptor(self, states: Mapping[int, Tensor], learned: Mapping[str, Tensor]) -> Tensor:
        """Return what the router sees, (batch, D); where none is bound, nothing."""
        if GATES in learned:
            return states[self.config.blocks[-1]].new_zeros(1)
        given = learned.get(DESCRIPTOR)
        return descriptor_of(self.backbone, self.config, states) if given is None else given

    def means(self, states: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Mean features (d,), which the biases of experts and principal channels take off."""
        features = features_of(self.backbone, self.config, states)
        return {"features": features.mean(dim=(0, 2, 3))}


def judge_routed(pool: Pool, seen: Seen, config: Config) -> Answer:
    """Gather for every image the experts that its descriptor chooses, and ask those alone.

    Slots of a level are as many as experts of it can be chosen; one with gate 0 says nothing.
    """
    router = named(pool.tensors, "router")
    weights = gates(logits_of(router, seen.descriptors), config)
    by_level = weights.reshape(weights.shape[0], len(LEVELS), -1)
    slots = min(config.top_k if config.routing == "top_k" else 1, by_level.shape[2])
    values, chosen = by_level.topk(slots, dim=2)
    projected = pool.project(seen)
    levels, maps = [], []
    for place, level in enumerate(LEVELS):
        said, located = [], []
        for slot in range(slots):
            gate, which = values[:, place, slot], chosen[:, place, slot]
            stacked = named(pool.tensors, f"{STACKED}/{level}")
            own = {name: one.index_select(0, which) for name, one in stacked.items()}
            scale = named(own, "scale")
            answer = ask_expert(level, own, seen.patches, projected, pool.grid, config.geometry)
            value, cells = level_and_map(
                LevelScale.of(scale), answer.errors, answer.members, config.share
            )
            said.append(torch.where(gate > 0, gate * value, 0.0))
            located.append(torch.where(gate[:, None] > 0, gate[:, None] * cells, 0.0))
        levels.append(torch.stack(said).sum(0))
        maps.append(torch.stack(located).sum(0).reshape(-1, *pool.grid))
    added = torch.stack(levels, dim=1)
    return Answer(added.sum(1), added, torch.stack(maps, dim=1))


def bound(learned: Tensors) -> Tensors:
    """Tensors of an artifact as the head takes them, under names that a graph can have.

    Figures about held-out parts stay behind. With product routing experts get numbers from 0 on, so
    that products which chose different ones have one graph; with image routing the fitted experts
    of a level and their scales are stacked.
    """
    figures = (AGREEMENT, EXPLAINED, SIZE)
    kept = {name: one for name, one in learned.items() if name.split("/")[0] not in figures}
    if GATES in learned:
        kept = _renumbered(kept)
    elif f"router/{DEVIATION}" not in learned:
        known = ("space/", "router/")
        kept = {name: one for name, one in learned.items() if name.startswith(known)}
        for level in LEVELS:
            stacked = _stack(learned, level).items()
            kept |= {f"{STACKED}/{level}/{name}": value for name, value in stacked}
    return {
        name.replace("/", "."): np.array(value, dtype=np.float32, order="C")
        for name, value in sorted(kept.items())
    }


def _renumbered(learned: Tensors) -> Tensors:
    """Give the experts of each level numbers from 0 on; gates are those of equally many a level."""
    chosen = {
        level: [one for owner, one in experts_in(learned) if owner == level] for level in LEVELS
    }
    most = max(map(len, chosen.values()))
    before = learned[GATES].reshape(len(LEVELS), -1)
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
    return found | {GATES: weights.reshape(-1)}


def _stack(learned: Tensors, level: str) -> Tensors:
    count = len(learned[f"router/{level}/bias"])
    parts: dict[str, list[np.ndarray[Any, Any]]] = {}
    for number in range(count):
        for prefix, start in ((f"{level}/{number}/", ""), (f"scale/{level}/{number}/", "scale/")):
            for name, value in sorted(learned.items()):
                if name.startswith(prefix):
                    parts.setdefault(start + name.removeprefix(prefix), []).append(value)
    # A number of each expert is an axis of one in the artifact.
    stacked = {name: np.stack(values) for name, values in parts.items()}
    return {
        name: value.reshape(count) if "level_" in name else value for name, value in stacked.items()
    }


class AnomalyMoEFusion(ScoringFusion[Config]):
    """AnomalyMoE as the exporter sees it."""

    config, head = Config, AnomalyMoEHead
    level_names = LEVELS

    def blocks(self, config: Config) -> tuple[int, ...]:
        """Blocks whose features are scored, ascending."""
        return config.blocks

    def tensors(self, learned: Tensors, backbone: Backbone, config: Config) -> Tensors:
        """Experts and scales, as `bound` has them.

        Raises
        ------
        ArtifactError
            The backbone takes images of another size than the task learned from.
        """
        require_size(learned, backbone)
        return bound(learned)

    def further_inputs(
        self, backbone: Backbone, entry_outputs: Mapping[str, Tensor], config: Config
    ) -> tuple[GraphInput, ...]:
        """Take the descriptor of the entry where every frame chooses its experts by it."""
        if config.routing_at == "product" or has_class_token(backbone):
            return ()
        example = entry_outputs[DESCRIPTOR]
        return (GraphInput(DESCRIPTOR, f"0/{DESCRIPTOR}", example, (0,)),)

    def sees_frame(self, tensors: Tensors) -> bool:
        """Whether there are drawn experts for the whole, which start from pixels."""
        return any(name.startswith("global.") and ".encoder." in name for name in tensors)

    def follow(self, tensors: Tensors, moved: Tensors) -> Tensors:
        """Take moved means off again: by biases of patch experts and of principal channels.

        Of drawn experts it is by the mean with which features are standardised.
        """
        shift = moved["features"]
        followed: Tensors = {}
        if "space.mean" in tensors:
            followed["space.mean"] = tensors["space.mean"] + shift
        for name, matrix in tensors.items():
            if name.endswith((".whitening", ".projection")):
                bias = name.rpartition(".")[0] + ".bias"
                followed[bias] = tensors[bias] - shift @ matrix
        return followed


FUSION: Fusion[Config] = AnomalyMoEFusion()
