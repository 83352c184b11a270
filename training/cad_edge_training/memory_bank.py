"""The memory of normal patches: whitening, compression to centres, distance to the nearest.

Greedy k-centre selection is what CMPMB and UCAD call CSS and FPS alike (METHODS: one algorithm);
whitening and k-means centres go beyond the paper.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

PROJECTION_WIDTH = 128  # of the random projection in which k-centre distances are taken
START_POINTS = 10  # k-centre starts from the mean distance to this many random points
CHUNK = 16384  # patches per distance matrix, bounds the memory of large products


@dataclass(frozen=True)
class Subspace:
    """Gaussian whose smaller variances are one: probabilistic PCA (Tipping & Bishop 1999, Eq. 7).

    With y = (x - mean) * scale and a = y V the squared Mahalanobis length is
    sum_i precision_i a_i^2 + rest (|y|^2 - |a|^2).
    """

    mean: Tensor
    """(d,)"""
    scale: Tensor
    """(d,) brings every number to unit deviation."""
    directions: Tensor
    """(d, rank) orthonormal columns V."""
    precision: Tensor
    """(rank,)"""
    rest: Tensor
    """() precision of everything outside V."""

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> "Subspace":
        """Read what `tensors` wrote."""
        return Subspace(*(tensors[f"statistics/{name}"] for name in SUBSPACE_PARTS))

    def tensors(self) -> dict[str, Tensor]:
        """Tensors ``statistics/<part>``."""
        return {f"statistics/{name}": getattr(self, name) for name in SUBSPACE_PARTS}

    def length(self, values: Tensor) -> Tensor:
        """Mahalanobis length (n,) of values (n, d) float32."""
        scaled = (values - self.mean) * self.scale
        along = (scaled @ self.directions) ** 2
        outside = ((scaled * scaled).sum(1) - along.sum(1)).clamp_min(0)
        return torch.sqrt(along @ self.precision + self.rest * outside)


SUBSPACE_PARTS = ("mean", "scale", "directions", "precision", "rest")


def fit_subspace(values: Tensor, rank: int, shrinkage: float) -> Subspace:
    """Fit to values (n, d) float32, n >= 2.

    Parameters
    ----------
    rank
        Directions kept, at most d.
    shrinkage
        Fraction of the mean eigenvalue added to every eigenvalue.
    """
    wide = values.double()
    mean = wide.mean(dim=0)
    # Means of early channels and deviations of late ones differ in scale by orders of magnitude;
    # the shrinkage would flatten the small ones.
    scale = 1 / (wide.std(dim=0, correction=0) + 1e-6)
    scaled = (wide - mean) * scale
    eigenvalues, vectors = torch.linalg.eigh(scaled.T @ scaled / max(len(scaled) - 1, 1))
    eigenvalues, vectors = eigenvalues.clamp_min(0).flip(0), vectors.flip(1)
    floor = (shrinkage * eigenvalues.mean()).clamp_min(1e-12)
    rank = min(rank, len(eigenvalues))
    remaining = eigenvalues[rank:]
    rest = remaining.mean() if len(remaining) else torch.zeros((), dtype=torch.float64)
    return Subspace(
        mean.float(),
        scale.float(),
        vectors[:, :rank].float().contiguous(),
        (1 / (eigenvalues[:rank] + floor)).float(),
        (1 / (rest + floor)).float(),
    )


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


def identity_whitening(channels: int) -> Whitening:
    """Return the whitening that changes nothing."""
    return Whitening(torch.zeros(channels), torch.eye(channels))


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


def root_floor(centres: Tensor) -> float:
    """Return what is added to a squared distance before its root is taken.

    |z|^2 - 2 z c + |c|^2 loses the last digits of |c|^2, and at a patch that is itself in memory
    the root would magnify that loss a thousandfold. A thousandth of the mean |c|^2 bounds it and
    changes distances between different patches by less than they are known.
    """
    return 1e-3 * float((centres * centres).sum(1).mean())


def nearest_distance(features: Tensor, centres: Tensor, floor: float = 0.0) -> Tensor:
    """Euclidean distance sqrt(d^2 + floor) of every patch to its nearest centre.

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
    return (torch.cat(nearest) + floor).sqrt().reshape(features.shape[:-1])


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


def compress(features: Tensor, method: str, count: int, seed: int) -> Tensor:
    """Compress patches (n_samples, channels) to at most ``count`` centres by ``method``."""
    if method == "k_means":
        return k_means(features, count, seed)
    generator = torch.Generator().manual_seed(seed)
    return features[k_center(features, count, generator)].clone()
