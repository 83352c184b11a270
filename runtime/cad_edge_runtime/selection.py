"""Selection: from distances to a product, a runner-up and the verdict "unknown".

The nearest task is chosen. A frame farther from it than the task's radius, which the exporter takes
from held-out images of good parts, shows a product that was never learned.

Similarity is ``1 / (1 + (distance / radius)^2)`` with the radius of the chosen task: 1 at distance
0, 0.5 where rejection begins, falling with the distance. The runner-up is measured with the same
radius, so that it is never more similar than the task that was chosen.
"""

import math
from dataclasses import dataclass

import numpy as np

from cad_edge.errors import GraphError
from cad_edge_runtime.session import Array


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
    """False where the frame lies beyond the radius of every task it could be."""


def similarity(distance: float, radius: float) -> float:
    """Map a distance onto [0, 1]; 0.5 at the radius, 0 for a distance that is not finite."""
    if not math.isfinite(distance):
        return 0.0
    ratio = max(distance, 0.0) / radius
    return 1.0 / (1.0 + ratio * ratio)


def select(distance: Array, tasks: tuple[str, ...], radii: tuple[float, ...]) -> list[Choice]:
    """Choose a task for every frame.

    Parameters
    ----------
    distance
        (batch, tasks) float32.
    tasks, radii
        Name and radius of each column, at least one.

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
    return [_choose(row, tasks, radii) for row in distance]


def _choose(row: Array, tasks: tuple[str, ...], radii: tuple[float, ...]) -> Choice:
    best = int(row.argmin())
    nearest, radius = float(row[best]), radii[best]
    # NaN is the smallest to argmin and must not pass for a product.
    known = nearest <= radius
    runner_up = None
    if len(tasks) > 1:
        others = row.copy()
        others[best] = np.inf
        second = int(others.argmin())
        runner_up = RunnerUp(tasks[second], similarity(float(others[second]), radius))
    return Choice(tasks[best], similarity(nearest, radius), runner_up, known)
