"""Which settings are on the front, to be combined and to be taken: pure functions of figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

ALIKE = 0.02
"""Two settings whose times differ by no more than this share take the same time: the same program
gains or loses as much through where its memory happens to lie."""


@dataclass(frozen=True)
class Point:
    """Figures of one setting by which it is compared with others."""

    name: str
    accuracy: float
    """Higher is better."""
    milliseconds: float
    megabytes: float | None
    """None where it was not measured."""
    task_bytes: float = 0.0


@dataclass(frozen=True)
class Budgets:
    """Stated limits; None where none was stated."""

    milliseconds: float | None = None
    megabytes: float | None = None

    def excess(self, point: Point) -> float:
        """How many times the worse of the limits ``point`` takes; 1 or less keeps them."""
        parts = [0.0]
        if self.milliseconds is not None:
            parts.append(point.milliseconds / self.milliseconds)
        if self.megabytes is not None and point.megabytes is not None:
            parts.append(point.megabytes / self.megabytes)
        return max(parts)

    def kept(self, point: Point) -> bool:
        """Whether every stated limit is kept."""
        return self.excess(point) <= 1


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell which points no other point dominates.

    Parameters
    ----------
    points
        (accuracy, cost) of each; more accuracy and less cost are better.

    Returns
    -------
    list of bool
        One per point: no other is at least as good in both and better in one. Equal points stay
        together, on the front or off it.
    """
    return [
        not any(
            other[0] >= point[0] and other[1] <= point[1] and other != point for other in points
        )
        for point in points
    ]


def take(
    points: Sequence[Point], budgets: Budgets, error: Callable[[str, str], float]
) -> str | None:
    """Name the setting to take; None if none keeps the budgets.

    Of those that keep them, all whose accuracy is within the standard error of its difference to
    the best one count as equally accurate. The fastest of these wins; of those about as fast the
    one with the smaller process, then the one with the smaller tasks, then the first.

    Parameters
    ----------
    points
        Settings, the default first.
    budgets
        Limits.
    error
        Standard error of the difference in accuracy of two settings, by their names.
    """
    kept = [point for point in points if budgets.kept(point)]
    if not kept:
        return None
    best = most_accurate(kept)
    equal = [one for one in kept if best.accuracy - one.accuracy <= error(best.name, one.name)]
    fastest = min(one.milliseconds for one in equal)
    fast = [one for one in equal if one.milliseconds <= fastest * (1 + ALIKE)]
    return min(fast, key=_size).name


def most_accurate(points: Sequence[Point]) -> Point:
    """Return the most accurate of ``points``, the first of several."""
    return max(points, key=lambda point: point.accuracy)


def _size(point: Point) -> tuple[int, float]:
    # Whole megabytes: what is below one differs from process to process.
    return round(point.megabytes or 0.0), point.task_bytes


def nearest(points: Sequence[Point], budgets: Budgets) -> str:
    """Name the setting that misses the worse of its budgets by least."""
    return min(points, key=budgets.excess).name


MOST = 6
"""Combinations that are tried."""


@dataclass(frozen=True)
class Candidate:
    """Values that are not default, and the figures that were measured or are expected of them."""

    changes: Mapping[str, str]
    accuracy: float
    milliseconds: float


def combine(
    default: Candidate, alone: Sequence[Candidate], budget: float | None
) -> list[dict[str, str]]:
    """Combine values that were on the front alone.

    What values gain in accuracy is taken to add up, and what they save of the time to multiply.
    Combinations that this puts on the front are kept; with a budget of milliseconds only those that
    should keep it, if there are such. Of more than `MOST` some are taken, evenly from the fastest
    to the slowest.

    Parameters
    ----------
    default
        The default configuration.
    alone
        One change each.
    budget
        Stated limit in milliseconds, None without one.

    Returns
    -------
    list of dict
        Values by axis, at least two in each.
    """
    tried = [default, *alone]
    on_front = front([(one.accuracy, one.milliseconds) for one in tried])
    useful = [one for one, kept in zip(tried, on_front, strict=True) if kept and one.changes]
    guesses = [_guess(default, parts) for parts in _groups(useful)]
    measured = [(one.accuracy, one.milliseconds) for one in tried]
    expected = front([*measured, *((one.accuracy, one.milliseconds) for one in guesses)])
    good = [one for one, kept in zip(guesses, expected[len(tried) :], strict=True) if kept]
    if budget is not None:
        good = [one for one in good if one.milliseconds <= budget] or good
    good.sort(key=lambda one: one.milliseconds)
    return [dict(good[at].changes) for at in _spread(len(good))]


def _groups(useful: Sequence[Candidate]) -> list[list[Candidate]]:
    """Every choice of two or more of different axes."""
    by_axis: dict[str, list[Candidate | None]] = {}
    for one in useful:
        (axis,) = one.changes
        by_axis.setdefault(axis, [None]).append(one)
    groups = [[one for one in group if one is not None] for group in product(*by_axis.values())]
    return [group for group in groups if len(group) > 1]


def _guess(default: Candidate, parts: Sequence[Candidate]) -> Candidate:
    changes: dict[str, str] = {}
    accuracy, milliseconds = default.accuracy, default.milliseconds
    for one in parts:
        changes |= one.changes
        accuracy += one.accuracy - default.accuracy
        milliseconds *= one.milliseconds / default.milliseconds
    return Candidate(changes, accuracy, milliseconds)


def _spread(count: int) -> list[int]:
    """At most `MOST` of ``count`` places, evenly, both ends among them."""
    places = np.linspace(0, count - 1, min(MOST, count)).round().astype(int)
    return sorted({int(place) for place in places})
