"""Memory banks of normal patches: whitening, coreset or k-means centres, nearest distances.

Greedy k-centre selection is PatchCore's coreset subsampling, and what CMPMB and UCAD call CSS and
FPS alike.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

PROJECTION_WIDTH = 128  # of the random projection in which k-centre distances are taken
START_POINTS = 10  # k-centre starts from the mean distance to this many random points
MAX_PATCHES = 100_000  # patches that whitening and compression see, drawn with the seed
CHUNK = 16384  # patches per distance matrix, bounds the memory of large products


@dataclass(frozen=True)
class Whitening:
    """The linear map z = (f - mean) @ matrix that gives normal patches unit covariance."""

    mean: Tensor
    """(channels,) float32."""
    matrix: Tensor
    """(channels, channels) float32, symmetric."""

    def apply(self, features: Tensor) -> Tensor:
        """Whiten features (..., channels) float32."""
        return (features - self.mean) @ self.matrix


def fit_whitening(features: Tensor, shrinkage: float) -> Whitening:
    """W = V (E + shrinkage * mean(E))^-1/2 V^T of the features' own covariance.

    Parameters
    ----------
    features
        (n_samples, channels) float32, n_samples >= 2.
    shrinkage
        Fraction of the mean eigenvalue added to every eigenvalue; keeps directions without
        variance, of which few images have many, from being blown up.
    """
    values = features.double()
    mean = values.mean(dim=0)
    centred = values - mean
    covariance = centred.T @ centred / max(len(values) - 1, 1)
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    floor = shrinkage * eigenvalues.mean()
    scale = (eigenvalues.clamp_min(0) + floor).clamp_min(1e-12).rsqrt()
    return Whitening(mean.float(), ((vectors * scale) @ vectors.T).float())


def squared_distances(features: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances (n_samples, n_centres), never negative."""
    products = features @ centres.T
    squares = (features * features).sum(1, keepdim=True) + (centres * centres).sum(1)
    return (squares - 2 * products).clamp_min(0)


def root_epsilon(centres: Tensor) -> float:
    """Return what is added to a squared distance before its root is taken.

    |z|^2 - 2 z c + |c|^2 loses the last digits of |c|^2, and at a patch that is itself in memory
    the root would magnify that loss a thousandfold. A thousandth of the mean |c|^2 bounds it and
    changes distances between different patches by less than they are known.
    """
    return 1e-3 * float((centres * centres).sum(1).mean())


def nearest_distance(features: Tensor, centres: Tensor, epsilon: float = 0.0) -> Tensor:
    """Euclidean distance sqrt(d^2 + epsilon) of every patch to its nearest centre.

    Parameters
    ----------
    features
        (..., channels) float32.
    centres
        (n_centres, channels) float32.

    Returns
    -------
    Tensor
        (...) float32.
    """
    flat = features.reshape(-1, features.shape[-1])
    nearest = [squared_distances(part, centres).amin(dim=1) for part in torch.split(flat, CHUNK)]
    return (torch.cat(nearest) + epsilon).sqrt().reshape(features.shape[:-1])


def k_center(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose a greedy k-centre cover: each next point is the farthest from those chosen.

    Parameters
    ----------
    features
        (n_samples, channels) float32.
    count
        Points to choose; all are returned if there are fewer.

    Returns
    -------
    Tensor
        (count,) int64, in order of choice, without repetition.
    """
    n_samples, channels = features.shape
    if n_samples <= count:
        return torch.arange(n_samples)
    if channels > PROJECTION_WIDTH:
        projection = torch.randn(channels, PROJECTION_WIDTH, generator=generator)
        features = features @ (projection / PROJECTION_WIDTH**0.5)
    squares = (features * features).sum(1)
    start = torch.randperm(n_samples, generator=generator)[:START_POINTS]
    distance = squared_distances(features, features[start]).sqrt().mean(dim=1) ** 2
    chosen = torch.empty(count, dtype=torch.int64)
    for step in range(count):
        chosen[step] = pick = int(distance.argmax())
        to_pick = squares + squares[pick] - 2 * (features @ features[pick])
        distance = torch.minimum(distance, to_pick.clamp_min(0))
        distance[pick] = -1.0
    return chosen


def k_means(features: Tensor, count: int, seed: int) -> Tensor:
    """Find centres (count, channels) float32 by Lloyd's algorithm from seeded random patches.

    All samples are returned if there are not more than ``count``.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if len(features) <= count:
        return features.clone()
    clusters = KMeans(count, init="random", n_init=1, max_iter=12, tol=0.0, random_state=seed)
    with warnings.catch_warnings():
        # Binary or blank images have fewer distinct patches than centres; repeats do no harm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters.fit(features.numpy())
    centres: Tensor = torch.from_numpy(clusters.cluster_centers_).float()
    return centres


def drawn(patches: Tensor, seed: int) -> Tensor:
    """All patches (n, channels), or MAX_PATCHES of them drawn with the seed."""
    if len(patches) <= MAX_PATCHES:
        return patches
    generator = torch.Generator().manual_seed(seed)
    return patches[torch.randperm(len(patches), generator=generator)[:MAX_PATCHES]]
