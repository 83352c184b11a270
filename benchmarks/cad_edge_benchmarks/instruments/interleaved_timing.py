"""Timing that a busy machine cannot tilt: the things compared take turns in one run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

WARM_UP_ROUNDS = 10
WARM_UP_SECONDS = 0.2

Nanoseconds = npt.NDArray[np.int64]
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Latency:
    """Distribution of one subject's times, in milliseconds."""

    samples: int
    mean: float
    minimum: float
    p50: float
    p90: float
    p95: float
    p99: float | None
    """None with fewer than 1,000 samples: its tail would be a handful of frames."""
    maximum: float


@dataclass(frozen=True)
class Ratio:
    """Distribution of the ratio of two subjects, one value per round."""

    median: float
    lower_quartile: float
    upper_quartile: float
    rounds: int


def in_rounds(
    subjects: Mapping[str, Callable[[], Outcome]],
    rounds: int,
    warm_up: int = WARM_UP_ROUNDS,
    warm_up_seconds: float = WARM_UP_SECONDS,
) -> dict[str, list[Outcome]]:
    """Run all subjects once per round, in order: A B C A B C ...

    Parameters
    ----------
    subjects
        Who takes part, by name.
    rounds
        Rounds that count; at least ``warm_up`` rounds and ``warm_up_seconds`` come before them.

    Returns
    -------
    What each subject returned in the rounds that count; index n of each is the same round.
    """
    started, done = time.perf_counter(), 0
    while done < warm_up or time.perf_counter() - started < warm_up_seconds:
        for run in subjects.values():
            run()
        done += 1
    found = [[run() for run in subjects.values()] for _ in range(rounds)]
    return {name: [one[place] for one in found] for place, name in enumerate(subjects)}


def take_turns(subjects: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Nanoseconds]:
    """Time ``subjects`` in ``rounds`` as `in_rounds` runs them; (rounds,) int64 for each."""
    timed = {name: partial(nanoseconds_of, run) for name, run in subjects.items()}
    found = in_rounds(timed, rounds)
    return {name: np.array(times, dtype=np.int64) for name, times in found.items()}


def nanoseconds_of(run: Callable[[], object]) -> int:
    """Time one run."""
    before = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - before


def latency_of(times: Nanoseconds) -> Latency:
    """Describe ``times`` (n,) int64 nanoseconds."""
    p50, p90, p95, p99 = np.percentile(times, [50, 90, 95, 99]) / 1e6
    return Latency(
        samples=len(times),
        mean=float(times.mean() / 1e6),
        minimum=float(times.min() / 1e6),
        p50=float(p50),
        p90=float(p90),
        p95=float(p95),
        p99=float(p99) if len(times) >= 1000 else None,
        maximum=float(times.max() / 1e6),
    )


def ratio_of(times: Nanoseconds, base: Nanoseconds) -> Ratio:
    """Describe ``times / base`` round by round, both (n,) int64 of one run of `take_turns`."""
    lower, median, upper = np.percentile(times / base, [25, 50, 75])
    return Ratio(float(median), float(lower), float(upper), len(times))
