"""The pool of a step: its experts and their router, as tensors with names.

``space/...`` are the principal channels, ``<level>/<k>/...`` the k-th expert of a level and
``router/<level>/...`` what chooses it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.discriminant import fit_discriminant
from cad_edge_training.methods.anomaly_moe.fitted import (
    Grid,
    Weights,
    component_error,
    component_residual,
    describe_components,
    global_error,
    patch_error,
    project,
    standardised_components,
)
from cad_edge_training.methods.anomaly_moe.fitting import (
    fit_components,
    fit_global,
    fit_patch,
    fit_space,
    with_weights,
)


class Seen(NamedTuple):
    """Images as the frozen backbone sees them."""

    patches: Tensor
    """(n, p, d) float32, p cells row by row."""
    descriptors: Tensor
    """(n, D) float32 of the entry."""

    def of(self, places: Tensor) -> "Seen":
        """Take the images ``places`` (m,) int64."""
        return Seen(self.patches[places], self.descriptors[places])


class Errors(NamedTuple):
    """What one expert of each level says of images."""

    patch: Tensor
    """(n, p)"""
    component: Tensor
    """(n, K)"""
    whole: Tensor
    """(n, p)"""
    members: Tensor
    """(n, K, p), 1 where a cell belongs to a component."""


@dataclass(frozen=True)
class FittedPool:
    """Experts of a step in closed form."""

    tensors: dict[str, Tensor]
    grid: Grid
    geometry: bool

    def expert(self, level: str, number: int) -> Weights:
        """Weights of one expert by their own names."""
        return named(self.tensors, f"{level}/{number}")

    def errors(self, seen: Seen, experts: tuple[int, int, int]) -> Errors:
        """Errors of images under one expert of each of `LEVELS`."""
        patch, component, whole = (
            self.expert(level, number) for level, number in zip(LEVELS, experts, strict=True)
        )
        projected = project(named(self.tensors, "space"), seen.patches)
        described = describe_components(component, projected, self.grid, self.geometry)
        return Errors(
            patch_error(patch, seen.patches),
            component_error(component, described, self.geometry),
            global_error(whole, projected),
            described.members,
        )

    def unexplained(self, seen: Seen, level: str, number: int) -> tuple[Tensor, Tensor]:
        """Squared error (n,) of an expert and of its constant predictor, of the two upper levels."""
        projected = project(named(self.tensors, "space"), seen.patches)
        weights = self.expert(level, number)
        if level == "global":
            constant = projected.flatten(1) - weights["mean"]
            return _squares(global_error(weights, projected)), _squares(constant)
        described = describe_components(weights, projected, self.grid, self.geometry)
        constant = standardised_components(weights, described, self.geometry)
        return _squares(component_residual(weights, constant)), _squares(constant)


def _squares(values: Tensor) -> Tensor:
    """Mean square (n,) over all but the first axis."""
    flat = values.flatten(1).double()
    return (flat * flat).mean(1)


def named(tensors: Weights, prefix: str) -> Weights:
    """Tensors below ``prefix/``, without it."""
    start = prefix + "/"
    return {
        name.removeprefix(start): value
        for name, value in tensors.items()
        if name.startswith(start)
    }


def fit_pool(
    seen: Seen, chosen: tuple[Tensor, Tensor, Tensor], grid: Grid, config: Config, seed: int
) -> FittedPool:
    """Fit the experts of a step.

    Parameters
    ----------
    seen
        All images that the step learns from.
    chosen
        For each of `LEVELS` the expert (n,) int64 of every image, from 0 without gaps.
    """
    space = fit_space(seen.patches, config)
    projected = project(space, seen.patches)
    tensors = with_weights("space", space)
    experts = 1 + max(int(one.max()) for one in chosen)
    for level, expert_of in zip(LEVELS, chosen, strict=True):
        tensors |= with_weights(
            f"router/{level}", fit_discriminant(seen.descriptors, expert_of, experts)
        )
        for number in range(experts):
            # A level with fewer experts than others repeats its first, which is never chosen.
            source = number if bool((expert_of == number).any()) else 0
            places = torch.nonzero(expert_of == source)[:, 0]
            if level == "patch":
                weights = fit_patch(seen.patches[places], config)
            elif level == "global":
                weights = fit_global(projected[places], config)
            else:
                weights = fit_components(projected[places], grid, config, seed)
            tensors |= with_weights(f"{level}/{number}", weights)
    return FittedPool(tensors, grid, config.geometry)
