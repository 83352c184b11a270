"""Closed forms of the fitted experts, and of the principal channels that they share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cad_edge_training.memory_bank import drawn, fit_whitening, k_means
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.fitted import (
    Grid,
    Weights,
    describe_components,
    standardised_components,
)

SPARE_IMAGES = 2  # the rank stays so far below the number of images that errors are not all zero
DEVIATION_FLOOR = 1e-3  # of component vectors: areas and centres may be the same in every image


def fit_space(patches: Tensor, config: Config) -> dict[str, Tensor]:
    """Principal channels of patches (n, p, d), each channel brought to unit deviation before.

    Returns
    -------
    dict
        ``projection`` (d, c), with c = ``channels`` or d if that is less, and ``bias`` (c,).
    """
    flat = patches.flatten(0, 1).double()
    center, deviation = flat.mean(0), flat.std(0).clamp_min(1e-6)
    scaled = (flat - center) / deviation
    _, vectors = torch.linalg.eigh(scaled.T @ scaled)
    projection = vectors[:, -min(config.channels, len(vectors)) :] / deviation[:, None]
    return {"projection": projection.float(), "bias": -(center @ projection).float()}


def fit_patch(patches: Tensor, config: Config) -> dict[str, Tensor]:
    """One Gaussian of patches (n, p, d): ``whitening`` (d, d) and ``bias`` (d,).

    The share ``shrinkage`` of the mean variance is added after channels were brought to unit
    deviation.
    """
    flat = patches.flatten(0, 1)
    deviation = flat.double().std(0).clamp_min(1e-6)
    fitted = fit_whitening(flat / deviation.float(), config.shrinkage)
    whitening = fitted.matrix.double() / deviation[:, None]
    bias = -(fitted.mean.double() * deviation) @ whitening
    return {"whitening": whitening.float(), "bias": bias.float()}


def fit_global(projected: Tensor, config: Config) -> dict[str, Tensor]:
    """Linear autoencoder of whole images (n, p, c): ``mean`` (p c,) and ``basis`` (p c, rank).

    Principal directions by the products of images among each other, of which there are few. With
    fewer than rank + 2 images the rank falls, and the directions that are missing are zero.
    """
    flat = projected.flatten(1).double()
    mean = flat.mean(0)
    centred = flat - mean
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    rank = max(min(config.rank, len(flat) - SPARE_IMAGES), 0)
    chosen = torch.arange(len(flat) - rank, len(flat))
    used = values[chosen] > 1e-9 * values.clamp_min(0).sum().clamp_min(1e-30)
    scale = torch.where(used, values[chosen].clamp_min(1e-30).rsqrt(), 0.0)
    basis = centred.T @ (vectors[:, chosen] * scale)
    missing = config.rank - rank
    basis = torch.nn.functional.pad(basis, (0, missing))
    return {"mean": mean.float(), "basis": basis.float()}


def fit_centres(projected: Tensor, config: Config, seed: int) -> Tensor:
    """Cluster the cells of (n, p, c): centres (K, c), those that are left over far from all."""
    flat = drawn(projected.flatten(0, 1), seed)
    distinct = torch.unique(flat, dim=0)
    found = (
        distinct if len(distinct) <= config.components else k_means(flat, config.components, seed)
    )
    # A centre beyond all patches has none, so that every product has the same shapes.
    far = torch.full((config.components - len(found), found.shape[1]), 1e4)
    return torch.cat([found, far])


def fit_components(projected: Tensor, grid: Grid, config: Config, seed: int) -> dict[str, Tensor]:
    """Clusters of the cells of (n, p, c) and a linear autoencoder of each cluster's vector.

    Returns
    -------
    dict
        ``centres`` (K, c), ``mean`` and ``gain`` (K, k), ``basis`` (K, k, rank). Where patches
        are not as many as K, or fewer of them differ, the last clusters stay empty.
    """
    weights = {"centres": fit_centres(projected, config, seed)}
    described = describe_components(weights, projected, grid, config.geometry)
    vectors = described.vectors.double()
    weights["mean"] = vectors.mean(0).float()
    weights["gain"] = (1 / vectors.std(0).clamp_min(DEVIATION_FLOOR)).float()
    standardised = standardised_components(weights, described, config.geometry)
    weights["basis"] = torch.stack(
        [_principal(one, config.component_rank) for one in standardised.unbind(1)]
    )
    return weights


def _principal(values: Tensor, rank: int) -> Tensor:
    """Principal directions (k, rank) of values (n, k), zero where there are fewer."""
    centred = values.double()
    _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
    kept = max(min(rank, len(values) - SPARE_IMAGES, len(singular)), 0)
    kept = min(kept, int((singular > 1e-9).sum()))
    basis = rows[:kept].T
    return torch.nn.functional.pad(basis, (0, rank - basis.shape[1])).float()


def numbered(names: Sequence[int]) -> Tensor:
    """Give what occurs numbers from 0 on, in ascending order, (n,) int64."""
    place = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.tensor([place[name] for name in names], dtype=torch.int64)


def with_weights(prefix: str, weights: Weights) -> dict[str, Tensor]:
    """Weights under ``prefix/name``."""
    return {f"{prefix}/{name}": value for name, value in weights.items()}
