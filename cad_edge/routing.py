"""Recognising the product: a linear discriminant on sufficient statistics.

A frame is described by the mean and deviation of every channel of a few early blocks (the
descriptor, d numbers). A task stores count, mean and scatter of its training descriptors; with one
covariance C shared within tasks, the most likely task is the nearest mean in the metric C^-1
(Fisher 1936; equal priors), and the distance to it tells a product never learned. Sums are taken in
float64 and in the order of task names, so the same tasks give the same selector bit for bit,
whichever was learned first.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cad_edge.artifact import Tensors
from cad_edge.calibration import conformal_threshold

Float64 = np.ndarray[Any, np.dtype[np.float64]]
Float32 = np.ndarray[Any, np.dtype[np.float32]]

SHRINKAGE = 0.1  # weight of the diagonal in the shared covariance
SAMPLES = 64  # descriptors kept per task, to place the rejection radius
# A frame is unknown when it lies this many times farther out than 99 % of held-out normals do:
# a defect moves a frame too, and must not turn a known product into an unknown one.
REJECTION_RATE = 0.01
REJECTION_MARGIN = 1.4


@dataclass(frozen=True)
class RoutingStatistics:
    """What one task contributes to the selector."""

    count: int
    mean: Float64
    """(d,)"""
    scatter: Float64
    """(d, d) sum of outer products of the centred descriptors."""
    samples: Float32
    """(n, d) some of the training descriptors, n <= 64."""
    keys: Float32
    """(n_keys, channels) the published key set: patches of the frozen, un-prompted trunk."""
    key_distances: Float32
    """(n,) mean nearest-key distance of held-out normals."""

    def to_tensors(self) -> Tensors:
        """Tensors of ``routing.safetensors``; the symmetric scatter as its upper triangle."""
        upper = np.triu_indices(len(self.mean))
        return {
            "count": np.array([self.count], dtype=np.int64),
            "mean": self.mean,
            "scatter": self.scatter[upper],
            "samples": self.samples,
            "keys": self.keys,
            "key_distances": self.key_distances,
        }

    def moved(self, shift: Float64) -> "RoutingStatistics":
        """Return the same for a trunk whose descriptors lie ``shift`` (d,) or () away."""
        return dataclasses.replace(
            self,
            mean=self.mean + shift,
            samples=(self.samples + shift).astype(np.float32),
        )


def summarise(descriptors: Float64, keys: Float32, key_distances: Float32) -> RoutingStatistics:
    """Sum up training descriptors (n, d), n >= 2."""
    mean = descriptors.mean(axis=0)
    centred = descriptors - mean
    step = max(1, math.ceil(len(descriptors) / SAMPLES))
    return RoutingStatistics(
        len(descriptors),
        mean,
        centred.T @ centred,
        descriptors[::step].astype(np.float32),
        keys,
        key_distances,
    )


def from_tensors(tensors: Tensors) -> RoutingStatistics:
    """Read what `RoutingStatistics.to_tensors` wrote."""
    mean = tensors["mean"].astype(np.float64)
    scatter = np.zeros((len(mean), len(mean)))
    upper = np.triu_indices(len(mean))
    scatter[upper] = tensors["scatter"]
    scatter.T[upper] = tensors["scatter"]
    return RoutingStatistics(
        int(tensors["count"][0]),
        mean,
        scatter,
        tensors["samples"],
        tensors["keys"],
        tensors["key_distances"],
    )


@dataclass(frozen=True)
class Discriminant:
    """distance(x, t) = | (x - centre) @ matrix - keys[t] |, the Mahalanobis distance to task t."""

    tasks: tuple[str, ...]
    centre: Float64
    """(d,)"""
    matrix: Float64
    """(d, d) Cholesky factor of the inverse shared covariance."""
    keys: Float64
    """(n_tasks, d)"""
    radius: float
    """Distance beyond which a frame is an unknown product."""

    def distances(self, descriptors: Float64) -> Float64:
        """Distances (batch, n_tasks) of descriptors (batch, d)."""
        points = (descriptors - self.centre) @ self.matrix
        return np.asarray(np.linalg.norm(points[:, None] - self.keys[None], axis=2))

    def to_tensors(self) -> Tensors:
        """Tensors of the selector's engine: distance = | x @ matrix + bias - keys[t] |, float32."""
        return {
            "matrix": self.matrix.astype(np.float32),
            "bias": -(self.centre @ self.matrix).astype(np.float32),
            "keys": self.keys.astype(np.float32),
        }


def fit_discriminant(tasks: Mapping[str, RoutingStatistics]) -> Discriminant:
    """Add up the statistics of all tasks; at least one."""
    names = tuple(sorted(tasks))
    covariance = shared_covariance([tasks[name] for name in names])
    means = np.stack([tasks[name].mean for name in names])
    centre = means.mean(axis=0)
    matrix = np.linalg.cholesky(np.linalg.inv(covariance))
    keys = (means - centre) @ matrix
    total = sum(tasks[name].count for name in names) - len(names)
    distances = [held_out_distances(tasks[name], matrix, total) for name in names]
    return Discriminant(names, centre, matrix, keys, rejection_radius(np.concatenate(distances)))


def shared_covariance(statistics: list[RoutingStatistics]) -> Float64:
    """Pooled within-task covariance (d, d), shrunk towards its own diagonal."""
    scatter = np.zeros_like(statistics[0].scatter)
    for task in statistics:
        scatter = scatter + task.scatter
    freedom = max(sum(task.count for task in statistics) - len(statistics), 1)
    covariance = scatter / freedom
    diagonal = np.diag(covariance)
    # A channel that never varies would otherwise make any change infinitely far.
    diagonal = np.maximum(diagonal, 1e-6 * max(float(diagonal.mean()), 1e-12))
    return (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(diagonal)


def held_out_distances(task: RoutingStatistics, matrix: Float64, freedom: int) -> Float64:
    """Distance of each sample to its task as if it had not been learned, (n,).

    Leaving x out moves the mean by r / (n - 1), r = x - mean, and takes n / (n - 1) r r^T from the
    scatter. Sherman-Morrison turns that into a factor on the plain distance.
    """
    points = (task.samples.astype(np.float64) - task.mean) @ matrix
    squares = (points * points).sum(axis=1)
    factor = task.count / (task.count - 1)
    removed = 1 - (1 - SHRINKAGE) * factor * squares / max(freedom, 1)
    # The diagonal's share stays whatever is removed, so only rounding brings this near zero; with
    # fewer images than numbers in a descriptor it is small, and the distance rightly large.
    return np.asarray(factor * np.sqrt(squares / np.maximum(removed, 1e-6)))


def rejection_radius(distances: Float64 | Float32) -> float:
    """Radius beyond which a frame is unknown, from held-out distances of all tasks (n,)."""
    ordered = sorted(float(distance) for distance in distances)
    return REJECTION_MARGIN * conformal_threshold(ordered, REJECTION_RATE)
