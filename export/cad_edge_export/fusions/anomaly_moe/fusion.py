"""AnomalyMoE fused: experts of a product as tensors of one head, or all of a step and a router.

Product routing binds the experts that the product's mean descriptor chose, and nothing chooses at
run time. Image routing binds all experts of the step, stacked along a first axis, of which the
descriptor of every frame gathers its own: no If, no Loop, no NonZero, and right for any batch.
Drawn experts for the whole all run then, and what has gate 0 says nothing: a convolution has no
kernels of its own for every image.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_export.fused_task import GraphInput, ModulePrecision
from cad_edge_export.fusion import Fusion
from cad_edge_export.fusions.anomaly_moe.expert_tensors import bound
from cad_edge_export.fusions.anomaly_moe.routed import judge_routed
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
from cad_edge_training.methods.anomaly_moe.fitted_pool import FrozenFeatures
from cad_edge_training.methods.anomaly_moe.model import PRODUCT_GATES, judge, scales_in
from cad_edge_training.methods.anomaly_moe.pool import pool_of, require_size
from cad_edge_training.patch_features import as_patches

DESCRIPTOR = "descriptor"
MATRICES = (".whitening", ".projection", ".basis", ".weight")


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
        seen = FrozenFeatures(patches, descriptor, learned.get(IMAGE))
        if PRODUCT_GATES in learned:
            weights = learned[PRODUCT_GATES].expand(patches.shape[0], -1)
            answer = judge(pool, seen, scales_in(learned), weights, self.config)
        else:
            answer = judge_routed(pool, seen, self.config)
        located = self.anomaly_map(answer.level_maps.sum(1), self.config.smoothing)
        return answer.score, located, answer.levels, answer.level_maps

    def _descriptor(self, states: Mapping[int, Tensor], learned: Mapping[str, Tensor]) -> Tensor:
        """Return what the router sees, (batch, D); where none is bound, nothing."""
        if PRODUCT_GATES in learned:
            return states[self.config.blocks[-1]].new_zeros(1)
        given = learned.get(DESCRIPTOR)
        return descriptor_of(self.backbone, self.config, states) if given is None else given

    def means(self, states: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Mean features (d,), which the biases of experts and principal channels take off."""
        features = features_of(self.backbone, self.config, states)
        return {"features": features.mean(dim=(0, 2, 3))}


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
        return bound(learned, config.routing_at)

    def stored(self, tensors: Tensors, precision: ModulePrecision) -> Tensors:
        """Keep the large matrices of an fp16 engine in halves; the head computes in float32."""
        if precision != "fp16":
            return tensors
        return {
            name: value.astype(np.float16) if name.endswith(MATRICES) else value
            for name, value in tensors.items()
        }

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
