"""Selection: from distances to a product, a runner-up and the verdict "unknown".

The nearest task is chosen. Up to its sure distance a frame shows that product; beyond its radius it
shows a product that was never learned. The exporter takes both from held-out images of good parts.
In between the anomaly map decides (``inspection.py``); a bundle that has no rule for maps has no
such frames.

Similarity is ``1 / (1 + (distance / sure)^2)`` with the sure distance of the chosen task: 1 at
distance 0, 0.5 where doubt begins, falling with the distance. The runner-up is measured by the same
one, so that it is never more similar than the task that was chosen.
"""

import math
from dataclasses import dataclass

import numpy as np

from cad_edge.errors import GraphError
from cad_edge.store.manifest import TaskEntry
from cad_edge_runtime.session import Array


@dataclass(frozen=True)
class TaskDistances:
    """How far from a task its frames lie."""

    sure: float
    """Distance up to which a frame surely shows the product."""

    radius: float
    """Distance beyond which it surely shows another."""


def reach_of(entry: TaskEntry) -> TaskDistances:
    """Return the distances of a task; equal ones where its radius alone decides."""
    rule = entry.recognition
    return TaskDistances(entry.radius if rule is None else rule.sure, entry.radius)


@dataclass(frozen=True)
class RunnerUp:
    """The second nearest task."""

    task: str
    similarity: float


@dataclass(frozen=True)
class Choice:
    """What the selector says about one frame."""

    task: str
    similarity: float
    runner_up: RunnerUp | None
    known: bool
    """False where the frame lies beyond the radius of the nearest task."""

    distance: float
    """To the nearest task."""

    ratio: float
    """Distance by the sure distance of the task."""

    @property
    def in_doubt(self) -> bool:
        """Whether the frame is neither surely of the task nor surely of none."""
        return self.known and self.ratio > 1


def similarity(distance: float, sure: float) -> float:
    """Map a distance onto [0, 1]; 0.5 at the sure one, 0 for a distance that is not finite."""
    if not math.isfinite(distance):
        return 0.0
    ratio = max(distance, 0.0) / sure
    return 1.0 / (1.0 + ratio * ratio)


def select(
    distance: Array, tasks: tuple[str, ...], reaches: tuple[TaskDistances, ...]
) -> list[Choice]:
    """Choose a task for every frame.

    Parameters
    ----------
    distance
        (batch, tasks) float32.
    tasks, reaches
        Name and reach of each column, at least one.

    Raises
    ------
    GraphError
        The selector gives another number of columns.
    """
    if distance.ndim != 2 or distance.shape[1] != len(tasks):
        raise GraphError(
            f"the selector gives distances of shape {distance.shape} for {len(tasks)} tasks; "
            "export the bundle again"
        )
    return [_choose(row, tasks, reaches) for row in distance]


def _choose(row: Array, tasks: tuple[str, ...], reaches: tuple[TaskDistances, ...]) -> Choice:
    best = int(row.argmin())
    nearest, reach = float(row[best]), reaches[best]
    runner_up = None
    if len(tasks) > 1:
        others = row.copy()
        others[best] = np.inf
        second = int(others.argmin())
        runner_up = RunnerUp(tasks[second], similarity(float(others[second]), reach.sure))
    return Choice(
        task=tasks[best],
        similarity=similarity(nearest, reach.sure),
        runner_up=runner_up,
        # NaN is the smallest to argmin and must not pass for a product.
        known=nearest <= reach.radius,
        distance=nearest,
        ratio=nearest / reach.sure,
    )
