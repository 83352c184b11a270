"""Which values to try together, after each was tried alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from cad_edge_benchmarks.advise.pareto_front import front

MOST = 6
"""Combinations that are tried."""


@dataclass(frozen=True)
class Tried:
    """Values that are not default, and the figures that were measured or are expected of them."""

    changes: Mapping[str, str]
    accuracy: float
    milliseconds: float


def combine(default: Tried, alone: Sequence[Tried], budget: float | None) -> list[dict[str, str]]:
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


def _groups(useful: Sequence[Tried]) -> list[list[Tried]]:
    """Every choice of two or more of different axes."""
    by_axis: dict[str, list[Tried | None]] = {}
    for one in useful:
        (axis,) = one.changes
        by_axis.setdefault(axis, [None]).append(one)
    groups = [[one for one in group if one is not None] for group in product(*by_axis.values())]
    return [group for group in groups if len(group) > 1]


def _guess(default: Tried, parts: Sequence[Tried]) -> Tried:
    changes: dict[str, str] = {}
    accuracy, milliseconds = default.accuracy, default.milliseconds
    for one in parts:
        changes |= one.changes
        accuracy += one.accuracy - default.accuracy
        milliseconds *= one.milliseconds / default.milliseconds
    return Tried(changes, accuracy, milliseconds)


def _spread(count: int) -> list[int]:
    """At most `MOST` of ``count`` places, evenly, both ends among them."""
    places = np.linspace(0, count - 1, min(MOST, count)).round().astype(int)
    return sorted({int(place) for place in places})
