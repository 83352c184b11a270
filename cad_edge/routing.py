"""Recognising the product: a linear discriminant on sufficient statistics.

A frame is described by the mean and deviation of every channel of a few early blocks (the
descriptor, d numbers). A task stores count, mean and scatter of its training descriptors; with one
covariance C shared within tasks, the most likely task is the nearest mean in the metric C^-1
(Fisher 1936; equal priors), and the distance to it, measured by how far held-out images of that
task lie, tells a product never learned (`cad_edge.recognition`). Sums are taken in float64 and in
the order of task names, so the same tasks give the same selector bit for bit, whichever was learned
first.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cad_edge.calibration import conformal_threshold, decision_threshold
from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import Tensors

Float64 = np.ndarray[Any, np.dtype[np.float64]]
Float32 = np.ndarray[Any, np.dtype[np.float32]]
Int64 = np.ndarray[Any, np.dtype[np.int64]]

SHRINKAGE = 0.1  # weight of the diagonal in the shared covariance
SAMPLES = 64  # descriptors kept per task, to place its radius
SURE_RATE = 0.01  # of good parts, so many may lie beyond the radius of their product
FEW_SAMPLES = 30  # below, the largest distance alone says too little of what 99 % keep to
# One deviation in one direction. Copies of one picture lie at no distance from each other, and
# arithmetic in float32 alone moves a frame farther than that.
SMALLEST_RADIUS = 1.0


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
    group_means: Float64 | None = None
    """(n, d) mean of all training descriptors of the group that each of ``samples`` is of; None
    where every image stands for itself."""
    group_counts: Int64 | None = None
    """(n,) how many training images are of that group."""

    def to_tensors(self) -> Tensors:
        """Tensors of ``routing.safetensors``; the symmetric scatter as its upper triangle."""
        upper = np.triu_indices(len(self.mean))
        groups: Tensors = {}
        if self.group_means is not None and self.group_counts is not None:
            groups = {"group_means": self.group_means, "group_counts": self.group_counts}
        return {
            "count": np.array([self.count], dtype=np.int64),
            "mean": self.mean,
            "scatter": self.scatter[upper],
            "samples": self.samples,
            "keys": self.keys,
            "key_distances": self.key_distances,
            **groups,
        }

    def moved(self, shift: Float64) -> "RoutingStatistics":
        """Return the same for a trunk whose descriptors lie ``shift`` (d,) or () away."""
        return dataclasses.replace(
            self,
            mean=self.mean + shift,
            samples=(self.samples + shift).astype(np.float32),
            group_means=None if self.group_means is None else self.group_means + shift,
        )


def summarise(
    descriptors: Float64,
    keys: Float32,
    key_distances: Float32,
    groups: Sequence[str] | None = None,
) -> RoutingStatistics:
    """Sum up training descriptors (n, d), n >= 2.

    Parameters
    ----------
    descriptors
        Of the training images.
    keys, key_distances
        As in `RoutingStatistics`.
    groups
        Name of the group of each image; None where every image stands for itself.
    """
    mean = descriptors.mean(axis=0)
    centred = descriptors - mean
    step = max(1, math.ceil(len(descriptors) / SAMPLES))
    group_means: Float64 | None = None
    group_counts: Int64 | None = None
    if groups is not None:
        names, members = np.unique(list(groups), return_inverse=True)
        means = np.stack(
            [descriptors[members == place].mean(axis=0) for place in range(len(names))]
        )
        counts = np.bincount(members).astype(np.int64)
        group_means, group_counts = means[members[::step]], counts[members[::step]]
    return RoutingStatistics(
        len(descriptors),
        mean,
        centred.T @ centred,
        descriptors[::step].astype(np.float32),
        keys,
        key_distances,
        group_means,
        group_counts,
    )


def from_tensors(tensors: Tensors) -> RoutingStatistics:
    """Read what `RoutingStatistics.to_tensors` wrote.

    Raises
    ------
    ArtifactError
        A tensor is missing or of another shape.
    """
    try:
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
            tensors.get("group_means"),
            tensors.get("group_counts"),
        )
    except (KeyError, IndexError, TypeError, ValueError) as problem:
        raise ArtifactError(
            f"the routing statistics of a task cannot be used ({problem}); learn the task again"
        ) from None


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
    radii: tuple[float, ...]
    """Per task, the distance up to which a frame surely shows it."""

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
    radii = tuple(recognition_radius(tasks[name], matrix, total) for name in names)
    return Discriminant(names, centre, matrix, keys, radii)


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


def recognition_radius(task: RoutingStatistics, matrix: Float64, freedom: int) -> float:
    """Return the distance up to which a frame surely shows a task.

    Parameters
    ----------
    task
        Its own images alone place it: how much other products vary says nothing about this one.
    matrix
        (d, d) of the `Discriminant`.
    freedom
        Descriptors behind the shared covariance, less the number of tasks.
    """
    return max(sure_radius(held_out_distances(task, matrix, freedom)), SMALLEST_RADIUS)


def sure_radius(distances: Float64 | Float32) -> float:
    """Conformal 99 % quantile of held-out distances (n,) of one task.

    Of few images it is at least what the tail of `cad_edge.calibration.decision_threshold` says.
    """
    ordered = sorted(float(distance) for distance in distances)
    radius = conformal_threshold(ordered, SURE_RATE)
    if len(ordered) < FEW_SAMPLES:
        return max(radius, decision_threshold(ordered, SURE_RATE))
    return radius


def held_out_distances(task: RoutingStatistics, matrix: Float64, freedom: int) -> Float64:
    """Distance of each sample to its task as if its group had not been learned, (n,).

    An image without a group is one of its own. Leaving out a group of n_g images with mean m_g
    moves the mean m by n_g / (n - n_g) u, u = m_g - m, and takes n_g n / (n - n_g) u u^T from the
    scatter, which is what the group adds to the spread between groups; how its images spread around
    their own mean stays. Sherman-Morrison turns that into terms of the plain distances.
    """
    points = (task.samples.astype(np.float64) - task.mean) @ matrix
    if task.group_means is None or task.group_counts is None:
        offsets, counts = points, np.ones(len(points))
    else:
        offsets = (task.group_means - task.mean) @ matrix
        counts = task.group_counts.astype(np.float64)
    rest = np.maximum(task.count - counts, 1)
    moved = points + (counts / rest)[:, None] * offsets
    weights = (1 - SHRINKAGE) * counts * task.count / rest / max(freedom, 1)
    # The diagonal's share stays whatever is removed, so only rounding brings this near zero; with
    # fewer images than numbers in a descriptor it is small, and the distance rightly large.
    left = np.maximum(1 - weights * (offsets * offsets).sum(axis=1), 1e-6)
    along = (moved * offsets).sum(axis=1)
    return np.asarray(np.sqrt((moved * moved).sum(axis=1) + weights * along * along / left))
