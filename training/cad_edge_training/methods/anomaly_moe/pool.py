"""The experts of a task, fitted or drawn, behind one interface."""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from torch import Tensor

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.pool import DrawnPool
from cad_edge_training.methods.anomaly_moe.fitted import Grid
from cad_edge_training.methods.anomaly_moe.fitted_pool import (
    ExpertErrors,
    FittedPool,
    FrozenFeatures,
)

SIZE = "size"
"""Tensor (2,) int64 of a task, height and width of the images that it learned from."""

Key: TypeAlias = tuple[str, int]
"""Level and number of an expert."""


class Pool(Protocol):
    """Experts that can be asked."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Experts as ``<level>/<k>/...``, what they share as ``space/...``, and ``router/...``."""
        ...

    @property
    def grid(self) -> Grid:
        """Height and width in cells."""
        ...

    def project(self, seen: FrozenFeatures) -> Tensor:
        """Bring patches to the form (n, p, c) that experts of several levels look at."""
        ...

    def expert_errors(
        self, level: str, number: int, seen: FrozenFeatures, projected: Tensor
    ) -> ExpertErrors:
        """Ask one expert of a level; ``projected`` is from `project`."""
        ...

    def errors_with(
        self, level: str, weights: Mapping[str, Tensor], seen: FrozenFeatures, projected: Tensor
    ) -> ExpertErrors:
        """Ask an expert of a level with such weights.

        A leading axis of every weight gives each image an expert of its own; drawn experts for the
        whole have none.
        """
        ...


def pool_of(tensors: Mapping[str, Tensor], layout: Layout, config: Config) -> Pool:
    """Make the experts of ``tensors`` ready to be asked about images of a layout."""
    if config.start == "drawn":
        return DrawnPool(dict(tensors), layout, config)
    return FittedPool(dict(tensors), layout.grid, config.geometry)


def experts_in(tensors: Mapping[str, object]) -> list[Key]:
    """Experts that there are, by level in the order of their names, then by number."""
    places = [name.split("/") for name in tensors]
    return sorted({(place[0], int(place[1])) for place in places if place[0] in LEVELS})


def require_size(learned: Tensors, backbone: Backbone) -> None:
    """Raise ArtifactError where the backbone takes other images than a task learned from.

    Experts for the whole, and the scales of all, belong to places of the image.
    """
    recipe = backbone.recipe
    found = [int(one) for one in learned[SIZE]]
    if found != [recipe.height, recipe.width]:
        raise ArtifactError(
            f"experts of anomaly_moe belong to places of the image: these were learned at "
            f"{found[1]} x {found[0]} pixels and cannot look at {recipe.width} x {recipe.height}; "
            f"load the backbone for {found[1]}"
        )
