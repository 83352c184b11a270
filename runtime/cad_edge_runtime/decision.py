"""Decisions: a task's threshold and p-values, with everything that can be computed beforehand."""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from cad_edge.store.manifest import TaskEntry


@dataclass(frozen=True)
class Judge:
    """Judges the scores of one task; gives what ``cad_edge.calibration`` gives, in microseconds."""

    scores: tuple[float, ...]
    """Held-out normal scores, ascending."""

    mean: float
    deviation: float
    threshold: float
    map_threshold: float | None
    minimum_area: int
    supported: bool
    """Whether the held-out images, or their groups, are enough for the stated false-reject rate."""

    def p_value(self, score: float) -> float:
        """(1 + number of held-out scores at least as large) / (n + 1), in (0, 1]."""
        count = len(self.scores)
        if math.isnan(score):
            return 1 / (count + 1)
        return (1 + count - bisect_left(self.scores, score)) / (count + 1)

    def standardise(self, score: float) -> float:
        """Score in held-out standard deviations above the held-out mean."""
        return (score - self.mean) / self.deviation


def judge_of(entry: TaskEntry) -> Judge:
    """Prepare the judge of a task."""
    values = np.asarray(entry.calibration.scores, dtype=np.float64)
    return Judge(
        scores=tuple(sorted(entry.calibration.scores)),
        mean=float(values.mean()),
        deviation=float(values.std()) or 1.0,
        threshold=entry.decision.threshold,
        map_threshold=entry.decision.map_threshold,
        minimum_area=entry.decision.minimum_area,
        supported=entry.decision.supported,
    )
