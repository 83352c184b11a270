"""Drawn experts behind the interface of fitted ones: what each says of an image.

Tensors are named as the experts name their weights, with slashes for dots, for example
``patch/0/block/0/qkv/weight``. Below ``space`` stand the units in which experts see features,
pixels and geometry, and the clusters of the product.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn.component_expert import component_error, error_of
from cad_edge_training.methods.anomaly_moe.drawn.global_expert import (
    global_error,
    is_pair,
    reconstruct_whole,
)
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.patch_expert import patch_error
from cad_edge_training.methods.anomaly_moe.drawn.weights import Weights
from cad_edge_training.methods.anomaly_moe.fitted import GEOMETRY, Grid, describe_components
from cad_edge_training.methods.anomaly_moe.fitted_pool import ExpertErrors, FrozenFeatures, named


@dataclass(frozen=True)
class Components:
    """Components of n images, as their experts take them."""

    vectors: Tensor
    """(n, K, k) float32: mean of the cells, then, with geometry, area and centre, standardised."""
    present: Tensor
    """(n, K), 1 for components that have a cell; of others the vector is 0."""
    members: Tensor
    """(n, K, p), 1 where a cell belongs to a component."""


@dataclass(frozen=True)
class Constants:
    """What says the same of every image of a product, and is the best in that."""

    whole: Tensor
    """(p, d), the mean of good parts."""
    components: Tensor
    """(K, k): the mean direction of each component's features, and its mean geometry."""

    @staticmethod
    def of(projected: Tensor, components: Components, layout: Layout) -> "Constants":
        """Fit to standardised patches (n, p, d) and components of good parts."""
        features = functional.normalize(components.vectors[..., : layout.features], dim=-1)
        numbers = components.vectors[..., layout.features :]
        seen = torch.cat([features, numbers], dim=-1).sum(0)
        count = components.present.sum(0).clamp(min=1)[:, None]
        return Constants(projected.mean(0), seen / count)


@dataclass(frozen=True)
class DrawnPool:
    """Experts of a step that were learned by gradient, as one product asks them."""

    tensors: Mapping[str, Tensor]
    layout: Layout
    config: Config
    constants: Constants | None = None
    """For R^2 of held-out parts; without it `ExpertErrors.squares` are 0."""

    @property
    def grid(self) -> Grid:
        """Height and width in cells."""
        return self.layout.grid

    def project(self, seen: FrozenFeatures) -> Tensor:
        """Standardised patches (n, p, d)."""
        space = named(self.tensors, "space")
        return (seen.patches - space["mean"]) / space["deviation"]

    def expert_errors(
        self, level: str, number: int, seen: FrozenFeatures, projected: Tensor
    ) -> ExpertErrors:
        """Ask one expert of a level; ``projected`` is from `project`.

        For the level ``global`` images of ``seen`` must be there.
        """
        return self.errors_with(level, named(self.tensors, f"{level}/{number}"), seen, projected)

    def errors_with(
        self, level: str, weights: Weights, seen: FrozenFeatures, projected: Tensor
    ) -> ExpertErrors:
        """Ask an expert with such weights, whose names have slashes."""
        weights = {name.replace("/", "."): value for name, value in weights.items()}
        if level == "component":
            return self._of_components(weights, projected)
        features = projected.transpose(1, 2).reshape(-1, projected.shape[2], *self.grid)
        if level == "patch":
            errors = patch_error(weights, features, self.config, self.layout)
            return ExpertErrors(errors, None, _means(errors, errors))
        assert seen.images is not None
        pixels = pixels_of(named(self.tensors, "space"), seen.images)
        errors = global_error(weights, pixels, features)
        if self.constants is None:
            return ExpertErrors(errors, None, _means(errors * 0, errors * 0))
        lost = errors
        if is_pair(weights):  # its error is no distance from the features
            lost = (features - reconstruct_whole(weights, pixels, self.grid)).square()
        constant = (projected - self.constants.whole).square()
        return ExpertErrors(errors, None, _means(lost, constant))

    def _of_components(self, weights: Weights, projected: Tensor) -> ExpertErrors:
        found = components_of(named(self.tensors, "space"), projected, self.layout)
        errors = component_error(weights, found.vectors, found.present, self.layout)
        constant = errors
        if self.constants is not None:
            said = self.constants.components.expand_as(found.vectors)
            constant = error_of(said, found.vectors, found.present, self.layout)
        return ExpertErrors(errors, found.members, _means(errors, constant))


def components_of(space: Weights, projected: Tensor, layout: Layout) -> Components:
    """Cluster the cells of standardised patches (n, p, d) and describe every cluster.

    ``space`` holds ``centres`` (K, d), and ``geometry_mean`` and ``geometry_gain`` (K, 3).
    """
    geometry = layout.geometry == GEOMETRY
    described = describe_components(space, projected, layout.grid, geometry)
    present = described.members.amax(2)
    vectors = described.vectors
    if geometry:
        numbers = (vectors[..., layout.features :] - space["geometry_mean"]) * space[
            "geometry_gain"
        ]
        vectors = torch.cat([vectors[..., : layout.features], numbers], dim=2)
    return Components(vectors * present[..., None], present, described.members)


def pixels_of(space: Weights, images: Tensor) -> Tensor:
    """Pixels (n, 3, h, w) as the backbone sees them, of images (n, h, w, 3) from 0 to 255.

    ``space`` holds ``pixel_scale`` and ``pixel_offset`` (3,).
    """
    scaled = images.to(torch.float32) * space["pixel_scale"] + space["pixel_offset"]
    return scaled.permute(0, 3, 1, 2)


def _means(errors: Tensor, constant: Tensor) -> Tensor:
    """Means (n, 2) over all but the first axis."""
    return torch.stack([one.flatten(1).double().mean(1) for one in (errors, constant)], dim=1)
