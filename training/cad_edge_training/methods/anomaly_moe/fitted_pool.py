"""The pool of a step: its experts and their router, as tensors with names.

``space/...`` are the principal channels, ``<level>/<k>/...`` the k-th expert of a level and
``router/<level>/...`` what chooses it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cad_edge_training.memory_bank import k_means
from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config
from cad_edge_training.methods.anomaly_moe.discriminant import fit_discriminant
from cad_edge_training.methods.anomaly_moe.fitted import (
    Grid,
    Weights,
    component_residual,
    describe_components,
    global_error,
    patch_error,
    project,
    root_mean_square,
    standardised_components,
)
from cad_edge_training.methods.anomaly_moe.fitted_updates import updated
from cad_edge_training.methods.anomaly_moe.fitting import (
    SPARE_IMAGES,
    fit_components,
    fit_global,
    fit_patch,
    fit_space,
    numbered,
    with_weights,
)

EM_ROUNDS = 10


class FrozenFeatures(NamedTuple):
    """Images as the frozen backbone sees them."""

    patches: Tensor
    """(n, p, d) float32, p cells row by row."""
    descriptors: Tensor
    """(n, D) float32, which the router sees."""
    images: Tensor | None = None
    """(n, height, width, 3) uint8; drawn experts for the whole alone look at them."""

    def of(self, places: Tensor) -> "FrozenFeatures":
        """Take the images ``places`` (m,) int64."""
        images = None if self.images is None else self.images[places]
        return FrozenFeatures(self.patches[places], self.descriptors[places], images)

    @staticmethod
    def joined(parts: "Sequence[FrozenFeatures]") -> "FrozenFeatures":
        """Join images of several products, without their pixels."""
        return FrozenFeatures(
            torch.cat([one.patches for one in parts]), torch.cat([one.descriptors for one in parts])
        )


class ExpertErrors(NamedTuple):
    """What an expert says of images."""

    errors: Tensor
    """(n, cells): of every cell of the grid, of the component level of every component."""
    members: Tensor | None
    """(n, K, p), 1 where a cell belongs to a component; None on other levels."""
    squares: Tensor
    """(n, 2) float64: mean squared error (of drawn experts their loss), and that of a predictor
    that says the mean; the patch level has no such predictor, and twice the same."""


@dataclass(frozen=True)
class FittedPool:
    """Experts of a step in closed form."""

    tensors: dict[str, Tensor]
    grid: Grid
    geometry: bool

    def project(self, seen: FrozenFeatures) -> Tensor:
        """Principal channels (n, p, c)."""
        space = named(self.tensors, "space")
        # Experts of patches alone, which an engine may have, look at no other channels.
        return project(space, seen.patches) if space else seen.patches

    def expert_errors(
        self, level: str, number: int, seen: FrozenFeatures, projected: Tensor
    ) -> ExpertErrors:
        """Ask one expert of a level; ``projected`` is from `project`."""
        return self.errors_with(level, named(self.tensors, f"{level}/{number}"), seen, projected)

    def errors_with(
        self, level: str, weights: Weights, seen: FrozenFeatures, projected: Tensor
    ) -> ExpertErrors:
        """Ask an expert with such weights."""
        return expert_errors(level, weights, seen.patches, projected, self.grid, self.geometry)


def expert_errors(
    level: str, weights: Weights, patches: Tensor, projected: Tensor, grid: Grid, geometry: bool
) -> ExpertErrors:
    """Ask an expert of a level about images.

    Parameters
    ----------
    patches, projected
        (n, p, d) of the backbone, and (n, p, c) of `fitted.project`.
    """
    if level == "patch":
        errors = patch_error(weights, patches)
        return ExpertErrors(errors, None, _squares(errors, errors))
    if level == "global":
        errors = global_error(weights, projected)
        return ExpertErrors(errors, None, _squares(errors, projected.flatten(1) - weights["mean"]))
    described = describe_components(weights, projected, grid, geometry)
    constant = standardised_components(weights, described, geometry)
    errors = root_mean_square(component_residual(weights, constant))
    return ExpertErrors(errors, described.members, _squares(errors, constant))


def _squares(errors: Tensor, constant: Tensor) -> Tensor:
    """Mean squares (n, 2) over all but the first axis."""
    both = [values.flatten(1).double() for values in (errors, constant)]
    return torch.stack([(values * values).mean(1) for values in both], dim=1)


def named(tensors: Weights, prefix: str) -> Weights:
    """Tensors below ``prefix/``, without it."""
    start = prefix + "/"
    return {
        name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
    }


def fit_expert(
    level: str, patches: Tensor, projected: Tensor, grid: Grid, config: Config, seed: int
) -> dict[str, Tensor]:
    """Fit an expert of a level to the images that it is for; as `expert_errors`."""
    if level == "patch":
        return fit_patch(patches, config)
    if level == "global":
        return fit_global(projected, config)
    return fit_components(projected, grid, config, seed)


def fit_pool(
    seen: FrozenFeatures,
    chosen: Mapping[str, Tensor],
    experts: int,
    grid: Grid,
    config: Config,
    seed: int,
) -> FittedPool:
    """Fit the experts of a step and its router.

    Parameters
    ----------
    seen
        All images that the step learns from.
    chosen
        By level the expert (n,) int64 of every image.
    experts
        Of each level. One that no image chose is like the first, and is never chosen.
    """
    space = fit_space(seen.patches, config)
    projected = project(space, seen.patches)
    tensors = with_weights("space", space)
    for level in LEVELS:
        router = fit_discriminant(seen.descriptors, chosen[level], experts)
        tensors |= with_weights(f"router/{level}", router)
        present = sorted({int(one) for one in chosen[level].tolist()})
        for number in range(experts):
            source = number if number in present else present[0]
            own = chosen[level] == source
            weights = fit_expert(level, seen.patches[own], projected[own], grid, config, seed)
            weights = updated(level, weights, projected[own], grid, config, seed)
            tensors |= with_weights(f"{level}/{number}", weights)
    return FittedPool(tensors, grid, config.geometry)


def assign(
    seen: FrozenFeatures, products: Tensor, experts: int, grid: Grid, config: Config, seed: int
) -> dict[str, Tensor]:
    """Give every image an expert of each level: the one that explains it best.

    Hard expectation maximisation from the products themselves, or where there are more experts than
    products from clusters of descriptors. What explains too few images is dropped.

    Parameters
    ----------
    products
        (n,) int64, product of each image.

    Returns
    -------
    dict
        By level (n,) int64, experts numbered from 0 without gaps.
    """
    if experts == 1:
        return dict.fromkeys(LEVELS, products)
    start = products
    if experts > int(products.max()) + 1:
        start = _clusters(seen.descriptors, experts, seed)
    projected = project(fit_space(seen.patches, config), seen.patches)
    smallest = max(config.components, 2 * SPARE_IMAGES)
    found: dict[str, Tensor] = {}
    for level in LEVELS:
        chosen = start
        for _ in range(EM_ROUNDS):
            kept = [one for one in range(experts) if int((chosen == one).sum()) >= smallest]
            squares = []
            for number in kept or [int(chosen.mode().values)]:
                own = chosen == number
                weights = fit_expert(level, seen.patches[own], projected[own], grid, config, seed)
                said = expert_errors(level, weights, seen.patches, projected, grid, config.geometry)
                squares.append(said.squares[:, 0])
            renewed = torch.stack(squares, dim=1).argmin(1)
            if torch.equal(renewed, chosen):
                break
            chosen = renewed
        found[level] = numbered(chosen.tolist())
    return found


def _clusters(descriptors: Tensor, count: int, seed: int) -> Tensor:
    """Nearest of k-means centres of standardised descriptors, (n,) int64."""
    scaled = (descriptors - descriptors.mean(0)) / descriptors.std(0).clamp_min(1e-6)
    return torch.cdist(scaled, k_means(scaled, count, seed)).argmin(1)
