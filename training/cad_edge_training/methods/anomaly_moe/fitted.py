"""Fitted experts: what each says of an image, as functions of its weights.

All work on patches f (n, p, d) of the frozen backbone on a grid of p cells. Shapes below are those
of one expert; a leading axis of every weight gives each image an expert of its own.

    patch       | W (f - m) | / sqrt(d)                       one Gaussian of all patches
    global      | (I - B B^T) (y - a) | at a cell / sqrt(c)   y: all cells in c principal channels
    component   | (I - V V^T) (q - b) / s | / sqrt(k)         q: mean of a cluster's cells in those
                                                              channels, its area and its centre

The last two are Eq. 7 and 8 of the paper with linear encoders and decoders on frozen features. W is
the whitening of the covariance, so that the first is a Mahalanobis distance.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

GEOMETRY = 3  # area and the two coordinates of the centre

Weights = Mapping[str, Tensor]
Grid = tuple[int, int]


class ComponentVectors(NamedTuple):
    """Components of n images."""

    vectors: Tensor
    """(n, K, k) float32: mean of the cells, then, with geometry, area and centre."""
    members: Tensor
    """(n, K, p) float32, 1 where a cell belongs to the component."""


def patch_error(weights: Weights, patches: Tensor) -> Tensor:
    """Root mean square (n, p) of whitened patches (n, p, d).

    ``weights`` are ``whitening`` (d, d), which is multiplied from the right, and ``bias`` (d,),
    which takes the mean off.
    """
    return root_mean_square(patches @ weights["whitening"] + weights["bias"][..., None, :])


def project(space: Weights, patches: Tensor) -> Tensor:
    """Principal channels (n, p, c) of patches (n, p, d).

    ``space`` is ``projection`` (d, c) and ``bias`` (c,), which takes the mean off.
    """
    return patches @ space["projection"] + space["bias"]


def global_residual(weights: Weights, projected: Tensor) -> Tensor:
    """Part of projected patches (n, p, c) that an expert for the whole does not explain, (n, p, c).

    ``weights`` are ``mean`` (p c,) and ``basis`` (p c, r), with orthonormal or zero columns.
    """
    basis = weights["basis"]
    centred = (projected.flatten(1) - weights["mean"])[:, None]
    explained = (centred @ basis) @ basis.transpose(-1, -2)
    return (centred - explained).reshape(projected.shape)


def global_error(weights: Weights, projected: Tensor) -> Tensor:
    """Root mean square (n, p) of `global_residual` over channels."""
    return root_mean_square(global_residual(weights, projected))


def describe_components(
    weights: Weights, projected: Tensor, grid: Grid, geometry: bool
) -> ComponentVectors:
    """Cluster the cells and describe every cluster.

    Parameters
    ----------
    weights
        ``centres`` (K, c); a cell belongs to the nearest, the first of those equally near.
    projected
        (n, p, c), p cells row by row.
    grid
        Height and width in cells.
    geometry
        Append the share of the cells that belong to a component, and the row and column of their
        centre of mass, in [-1, 1].
    """
    centres = weights["centres"]
    norms = (centres * centres).sum(-1)
    nearness = projected @ centres.transpose(-1, -2) - norms[..., None, :] / 2
    count = centres.shape[-2]
    members = (nearness.argmax(2)[:, None] == torch.arange(count)[:, None]).to(projected.dtype)
    what = projected if not geometry else _with_places(projected, grid)
    area = members.sum(2, keepdim=True)
    pooled = (members @ what) / area.clamp_min(1)
    if not geometry:
        return ComponentVectors(pooled, members)
    features, centre = pooled[..., :-2], pooled[..., -2:]
    return ComponentVectors(torch.cat([features, area / members.shape[2], centre], dim=2), members)


def _with_places(projected: Tensor, grid: Grid) -> Tensor:
    height, width = grid
    rows = torch.linspace(-1, 1, height)[:, None].expand(grid)
    columns = torch.linspace(-1, 1, width).expand(grid)
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    return torch.cat([projected, places.expand(projected.shape[0], -1, -1)], dim=2)


def standardised_components(
    weights: Weights, described: ComponentVectors, geometry: bool
) -> Tensor:
    """Bring component vectors (n, K, k) to the units of good parts, by ``mean`` and ``gain``.

    Of a component that is not there, area alone speaks: all else is as expected.
    """
    scaled = (described.vectors - weights["mean"]) * weights["gain"]
    present = described.members.amax(2, keepdim=True)
    if not geometry:
        return scaled * present
    place = scaled.shape[2] - GEOMETRY
    area = scaled[..., place : place + 1]
    return torch.cat(
        [scaled[..., :place] * present, area, scaled[..., place + 1 :] * present], dim=2
    )


def component_residual(weights: Weights, standardised: Tensor) -> Tensor:
    """Part of standardised vectors (n, K, k) outside each component's directions.

    ``weights`` hold ``basis`` (K, k, r).
    """
    basis = weights["basis"]
    along = standardised[..., None, :] @ basis
    return standardised - (along @ basis.transpose(-1, -2))[..., 0, :]


def root_mean_square(values: Tensor) -> Tensor:
    """Over the last axis."""
    return torch.sqrt((values * values).mean(-1).clamp_min(1e-12))
