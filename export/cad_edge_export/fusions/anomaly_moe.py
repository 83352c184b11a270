"""AnomalyMoE fused: experts of a product as tensors of one head, or all of a step and a router.

Product routing binds the experts that the product's mean descriptor chose, and nothing chooses at
run time. Image routing binds all experts of the step, stacked along a first axis, of which the
descriptor of every frame gathers its own: no If, no Loop, no NonZero, and right for any batch.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_export.fused_task import GraphInput, ModulePrecision
from cad_edge_export.fusion import Fusion
from cad_edge_export.scoring_head import ScoringFusion, ScoringHead
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.discriminant import fitted_logits
from cad_edge_training.methods.anomaly_moe.features import features_of
from cad_edge_training.methods.anomaly_moe.gates import gates
from cad_edge_training.methods.anomaly_moe.model import GATES, Answer, judge, scales_in
from cad_edge_training.methods.anomaly_moe.pool import FittedPool, Seen, ask_expert, named
from cad_edge_training.methods.anomaly_moe.scales import LevelScale, level_and_map
from cad_edge_training.patch_features import as_patches, grid_of
from cad_edge_training.routing_statistics import describe

DESCRIPTOR = "descriptor"
STACKED = "stacked"
MATRICES = (".whitening", ".projection", ".basis")


class AnomalyMoEHead(ScoringHead[Config]):
    """Experts of three levels; ``tensors`` are those of `bound`."""

    outputs: ClassVar[tuple[str, ...]] = ("score", "anomaly_map", "levels", "level_maps")

    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, ...]:
        """Score (batch,), map (batch, h, w), levels (batch, 3) and their maps on the grid."""
        features = features_of(self.backbone, self.config, states)
        learned = {name.replace(".", "/"): one.float() for name, one in tensors.items()}
        grid, patches = grid_of(features), as_patches(features)
        pool = FittedPool(learned, grid, self.config.geometry)
        if GATES in learned:
            seen = Seen(patches, patches.new_zeros(1))
            weights = learned[GATES].expand(patches.shape[0], -1)
            answer = judge(pool, seen, scales_in(learned), weights, self.config)
        else:
            descriptor = learned.get(DESCRIPTOR)
            if descriptor is None:
                early = {block: states[block] for block in self.backbone.routing_blocks}
                descriptor = describe(self.backbone, early)
            answer = judge_routed(pool, Seen(patches, descriptor), self.config)
        located = self.anomaly_map(answer.level_maps.sum(1), self.config.smoothing)
        return answer.score, located, answer.levels, answer.level_maps

    def means(self, states: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Mean features (d,), which the biases of experts and principal channels take off."""
        features = features_of(self.backbone, self.config, states)
        return {"features": features.mean(dim=(0, 2, 3))}


def judge_routed(pool: FittedPool, seen: Seen, config: Config) -> Answer:
    """Gather for every image the experts that its descriptor chooses, and ask those alone.

    Slots of a level are as many as experts of it can be chosen; one with gate 0 says nothing.
    """
    router = named(pool.tensors, "router")
    weights = gates(fitted_logits(router, seen.descriptors), config)
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

    Figures about held-out parts stay behind. With image routing the experts of a level and their
    scales are stacked; an expert that no held-out part chose has the scale of the first.
    """
    if GATES in learned:
        kept = {
            name: value
            for name, value in learned.items()
            if name.split("/")[0] not in ("explained", "agreement")
        }
    else:
        kept = {
            name: value for name, value in learned.items() if name.startswith(("space/", "router/"))
        }
        for level in LEVELS:
            kept |= {
                f"{STACKED}/{level}/{name}": value for name, value in _stack(learned, level).items()
            }
    return {
        name.replace("/", "."): np.array(value, dtype=np.float32, order="C")
        for name, value in sorted(kept.items())
    }


def _stack(learned: Tensors, level: str) -> Tensors:
    count = len(learned[f"router/{level}/bias"])
    scaled = [number for number in range(count) if f"scale/{level}/{number}/shift" in learned]
    parts: dict[str, list[np.ndarray[Any, Any]]] = {}
    for number in range(count):
        source = number if number in scaled else scaled[0]
        for prefix, start in ((f"{level}/{number}/", ""), (f"scale/{level}/{source}/", "scale/")):
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
        """Experts and scales, as `bound` has them."""
        return bound(learned)

    def stored(self, tensors: Tensors, precision: ModulePrecision) -> Tensors:
        """Keep the large matrices of an fp16 engine in halves; the head computes in float32."""
        if precision != "fp16":
            return tensors
        return {
            name: value.astype(np.float16) if name.endswith(MATRICES) else value
            for name, value in tensors.items()
        }

    def further_inputs(
        self, entry_outputs: Mapping[str, Tensor], config: Config
    ) -> tuple[GraphInput, ...]:
        """Take the descriptor of the entry where every frame chooses its experts."""
        if config.routing_at == "product":
            return ()
        example = entry_outputs[DESCRIPTOR]
        return (GraphInput(DESCRIPTOR, f"0/{DESCRIPTOR}", example, (0,)),)

    def follow(self, tensors: Tensors, moved: Tensors) -> Tensors:
        """Biases that take moved means off again, of patch experts and of principal channels."""
        shift = moved["features"]
        followed: Tensors = {}
        for name, matrix in tensors.items():
            if name.endswith((".whitening", ".projection")):
                bias = name.rpartition(".")[0] + ".bias"
                followed[bias] = tensors[bias] - shift @ matrix
        return followed


FUSION: Fusion[Config] = AnomalyMoEFusion()
