"""Which settings are worth looking at, and which of them to take. Pure functions of figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
