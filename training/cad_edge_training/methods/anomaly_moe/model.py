"""AnomalyMoE: one frame through the frozen backbone, the router and the chosen experts.

    score = sum_l s_l,   s_l = sum_j G_j N(word of expert j)     over the experts j of level l
    map   = A (sum_l M_l) A^T,   M_l = sum_j G_j N(errors of j)

G are the gates of the router, 0 for experts that are not chosen, and N brings to the units of
held-out good parts. The paper does not define how levels are fused.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cad_edge_training.backbones import Backbone
from cad_edge_training.gaussian import smooth
from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.features import descriptor_of, group_maps, layout_of
from cad_edge_training.methods.anomaly_moe.fitted_pool import FrozenFeatures, named
from cad_edge_training.methods.anomaly_moe.gates import gates
from cad_edge_training.methods.anomaly_moe.pool import Pool, pool_of
from cad_edge_training.methods.anomaly_moe.routing import logits_of
from cad_edge_training.methods.anomaly_moe.scales import LevelScale, level_and_map
from cad_edge_training.patch_features import as_patches

PRODUCT_GATES, SAME_EXPERTS = "product_gates", "same_experts"
"""Names of tensors: the gates (levels * experts,) that a product's mean descriptor gives, and the
share () of its held-out good parts whose own descriptors choose the same experts."""


class Prediction(NamedTuple):
    """What is said of n images."""

    score: Tensor
    """(n,)"""
    levels: Tensor
    """(n, levels), which add up to the score."""
    level_maps: Tensor
    """(n, levels, grid height, grid width)"""


class AnomalyMoE(nn.Module):
    """One learned task on its frozen backbone."""

    def __init__(self, backbone: Backbone, config: Config, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.backbone, self.config, self.tensors = backbone, config, dict(tensors)
        self.scales = scales_in(tensors)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score (batch,) and map (batch, h, w) of image (batch, h, w, 3) uint8."""
        answer = self.answer(image)
        size = (image.shape[1], image.shape[2])
        return answer.score, smooth(answer.level_maps.sum(1), size, self.config.smoothing)

    def levels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Levels (batch, levels) and their maps (batch, levels, grid height, grid width)."""
        answer = self.answer(image)
        return answer.levels, answer.level_maps

    def gates_of(self, image: Tensor) -> Tensor:
        """Gates (batch, levels * experts) of image (batch, h, w, 3) uint8."""
        return self.gates(look(self.backbone, self.config, image)[0])

    def same_experts(self, image: Tensor) -> Tensor:
        """Whether the own descriptors of image (batch, h, w, 3) uint8 choose as the product's."""
        seen = look(self.backbone, self.config, image)[0]
        return (self._frame_gates(seen) > 0).eq(self.tensors[PRODUCT_GATES] > 0).all(1)

    def same_experts_held_out(self) -> float:
        """Return the share of held-out good parts that do."""
        return float(self.tensors[SAME_EXPERTS])

    def answer(self, image: Tensor) -> Prediction:
        """Judge image (batch, h, w, 3) uint8."""
        seen, layout = look(self.backbone, self.config, image)
        pool = pool_of(self.tensors, layout, self.config)
        return judge(pool, seen, self.scales, self.gates(seen), self.config)

    def gates(self, seen: FrozenFeatures) -> Tensor:
        """Gates (n, levels * experts)."""
        if self.config.routing_at == "product":
            return self.tensors[PRODUCT_GATES].expand(seen.patches.shape[0], -1)
        return self._frame_gates(seen)

    def _frame_gates(self, seen: FrozenFeatures) -> Tensor:
        return gates(logits_of(named(self.tensors, "router"), seen.descriptors), self.config)


def scales_in(tensors: Mapping[str, Tensor]) -> dict[tuple[str, int], LevelScale]:
    """Scales of all experts of a task, by level and number."""
    places = [name.split("/") for name in tensors if name.startswith("scale/")]
    return {
        (level, int(number)): LevelScale.of(named(tensors, f"scale/{level}/{number}"))
        for level, number in sorted({(place[1], place[2]) for place in places})
    }


def look(backbone: Backbone, config: Config, image: Tensor) -> tuple[FrozenFeatures, Layout]:
    """See image (batch, h, w, 3) uint8 as experts and router do."""
    last = max(config.blocks[-1], *backbone.routing_blocks)
    states = backbone.run(backbone.normalise(image), last)
    maps = group_maps(backbone, config, states)
    descriptors = descriptor_of(backbone, config, states)
    seen = FrozenFeatures(as_patches(torch.cat(maps, dim=1)), descriptors, image)
    return seen, layout_of(backbone, config, maps, descriptors.shape[1])


def judge(
    pool: Pool,
    seen: FrozenFeatures,
    scales: Mapping[tuple[str, int], LevelScale],
    weights: Tensor,
    config: Config,
) -> Prediction:
    """Ask the experts in ``scales`` and add up what they say.

    Parameters
    ----------
    scales
        By level and number; the experts that are asked.
    weights
        Gates (n, levels * experts); what an expert with gate 0 says has no effect, NaN included.
    """
    projected, count = pool.project(seen), weights.shape[1] // len(LEVELS)
    levels, maps = [], []
    for place, level in enumerate(LEVELS):
        said = weights[:, 0] * 0
        located = seen.patches[..., 0] * 0
        for (owner, number), scale in sorted(scales.items()):
            if owner != level:
                continue
            gate = weights[:, place * count + number]
            answer = pool.expert_errors(level, number, seen, projected)
            value, cells = level_and_map(scale, answer.errors, answer.members, config.share)
            said = said + torch.where(gate > 0, gate * value, 0.0)
            located = located + torch.where(gate[:, None] > 0, gate[:, None] * cells, 0.0)
        levels.append(said)
        maps.append(located.reshape(-1, *pool.grid))
    added = torch.stack(levels, dim=1)
    return Prediction(added.sum(1), added, torch.stack(maps, dim=1))
