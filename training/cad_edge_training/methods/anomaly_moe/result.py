"""What a product keeps of the experts of its step, and what held-out parts say of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cad_edge_training.held_out_scores import calibrate
from cad_edge_training.learned import LearningRequest, LearningResult
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.fitted_pool import named
from cad_edge_training.methods.anomaly_moe.fitting import with_weights
from cad_edge_training.methods.anomaly_moe.gates import gates
from cad_edge_training.methods.anomaly_moe.held_out import (
    LEAST_PARTS,
    HeldOut,
    explained,
    fit_scales,
    log_weights,
)
from cad_edge_training.methods.anomaly_moe.model import PRODUCT_GATES, SAME_EXPERTS
from cad_edge_training.methods.anomaly_moe.pool import SIZE, Key, Pool
from cad_edge_training.methods.anomaly_moe.routing import logits_of, weighted
from cad_edge_training.methods.anomaly_moe.scales import parts_of
from cad_edge_training.patch_calibration import frame_maps, held_out_scores

EXPLAINED = "explained"
"""R^2 on held-out parts by level, which the model does not need."""


@dataclass(frozen=True)
class LearnedProduct:
    """A product after its step."""

    request: LearningRequest
    pool: Pool
    """Experts that learned from all parts that may be learned from."""
    held_out: HeldOut
    experts: int
    """Of each level."""
    descriptors: Tensor
    """(n, D) of the parts that the pool learned from."""
    groups: int | None
    """How many groups the held-out parts are of; None where every image stands for itself."""
    scheme: Literal["split", "cross"] = "split"
    folds: int = 1

    def result(self, config: Config) -> LearningResult:
        """Choose experts, scale them, and keep what the model of the product needs."""
        request, held_out = self.request, self.held_out
        known = explained(held_out, self.experts)
        router = named(self.pool.tensors, "router")
        router = {**router, **log_weights(router, known, config)}
        product_gates = gates(logits_of(router, self.descriptors.mean(0)[None]), config)
        frame_gates = gates(weighted(held_out.logits, router), config)
        by_product = config.routing_at == "product"
        gate = product_gates.expand(len(frame_gates), -1) if by_product else frame_gates
        scaled = fit_scales(held_out, gate, self._parts(), config, request.keep_outliers)
        tensors = {
            name: one for name, one in self.pool.tensors.items() if not name.startswith("router/")
        }
        if by_product:
            tensors = kept(tensors, scaled.scales)
        tensors |= with_weights("router", router)
        tensors[PRODUCT_GATES] = product_gates[0]
        for (level, number), scale in scaled.scales.items():
            tensors |= with_weights(f"scale/{level}/{number}", scale.tensors())
        tensors |= with_weights(EXPLAINED, known)
        tensors[SAME_EXPERTS] = (frame_gates > 0).eq(product_gates > 0).all(1).float().mean()
        recipe = request.backbone.recipe
        tensors[SIZE] = torch.tensor([recipe.height, recipe.width])
        maps = frame_maps(request, scaled.maps.reshape(-1, *self.pool.grid), config.smoothing)
        calibration = calibrate(
            held_out_scores(scaled.scores, maps),
            request.held_out_images(held_out.places, self.groups),
            self.scheme,
            self.folds,
        )
        return LearningResult({name: one.numpy() for name, one in tensors.items()}, calibration)

    def _parts(self) -> Tensor:
        """Part of each held-out image; all are of one where there are too few to scale others."""
        count = len(self.held_out.logits)
        if count < LEAST_PARTS:
            return torch.zeros(count, dtype=torch.int64)
        return parts_of(count, self.request.seed)


def kept(tensors: Mapping[str, Tensor], scales: Mapping[Key, object]) -> dict[str, Tensor]:
    """Leave out experts that a product never asks."""
    return {
        name: one
        for name, one in tensors.items()
        if name.startswith("space/") or (name.split("/")[0], int(name.split("/")[1])) in scales
    }
