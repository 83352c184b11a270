"""How many of how many, and how far the share may lie off by the images that happen to be there."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

CONFIDENCE = 0.95
_CLOSE = 1e-12  # width at which a bound is found

Interval: TypeAlias = tuple[float, float]
"""Lower and upper bound of a share."""


@dataclass(frozen=True)
class Count:
    """How many of how many."""

    hits: int
    total: int

    @classmethod
    def of(cls, share: float | None, total: int) -> "Count":
        """Count again what ``share`` of ``total`` was; nothing of nothing without a share."""
        return cls(0, 0) if share is None else cls(round(share * total), total)

    def __str__(self) -> str:
        return f"{self.hits} of {self.total}"

    def __add__(self, other: "Count") -> "Count":
        return Count(self.hits + other.hits, self.total + other.total)

    @property
    def share(self) -> float | None:
        """Hits by total; None where there is nothing to count."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> Interval | None:
        """Two-sided 95 % Clopper-Pearson interval of the share; None where there is none."""
        return clopper_pearson(self.hits, self.total) if self.total else None


def clopper_pearson(hits: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Exact two-sided interval of a binomial share (Clopper and Pearson, Biometrika 26, 1934).

    The shares that it holds are those under which neither as few nor as many hits as were seen are
    less likely than half of what ``confidence`` leaves. It is never too narrow, whatever the share.

    Parameters
    ----------
    hits
        How often it happened, 0 to ``total``.
    total
        How often it could have happened, at least 1.
    confidence
        In (0, 1).
    """
    tail = (1 - confidence) / 2
    # The lower bound of the hits is what the upper bound of the misses leaves.
    return 1 - _upper_bound(total - hits, total, tail), _upper_bound(hits, total, tail)


def _upper_bound(hits: int, total: int, tail: float) -> float:
    """Largest share under which at most ``hits`` of ``total`` have the probability ``tail``."""
    if hits == total:
        return 1.0
    counts = np.arange(hits + 1)
    ways = np.array([_log_choose(total, count) for count in range(hits + 1)])
    # That probability falls as the share grows, so halving finds the share.
    low, high = hits / total, 1.0
    while high - low > _CLOSE:
        share = (low + high) / 2
        terms = ways + counts * math.log(share) + (total - counts) * math.log1p(-share)
        if float(np.exp(terms).sum()) > tail:
            low = share
        else:
            high = share
    return (low + high) / 2


def _log_choose(total: int, count: int) -> float:
    """Logarithm of the number of ways to choose ``count`` of ``total``."""
    return math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
