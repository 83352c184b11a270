"""Timing that a busy machine cannot tilt: the things compared take turns in one run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WARM_UP_ROUNDS = 10
WARM_UP_SECONDS = 0.2

Nanoseconds = npt.NDArray[np.int64]


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


def take_turns(subjects: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Nanoseconds]:
    """Run all subjects once per round, in order: A B C A B C ...

    Parameters
    ----------
    subjects
        What to time, by name.
    rounds
        Rounds that count; at least 10 rounds and 0.2 s of warm-up come before them.

    Returns
    -------
    (rounds,) int64 nanoseconds for each subject; index n of each is the same round.
    """
    started = time.perf_counter()
    done = 0
    while done < WARM_UP_ROUNDS or time.perf_counter() - started < WARM_UP_SECONDS:
        for run in subjects.values():
            run()
        done += 1
    times = {name: np.empty(rounds, dtype=np.int64) for name in subjects}
    for index in range(rounds):
        for name, run in subjects.items():
            before = time.perf_counter_ns()
            run()
            times[name][index] = time.perf_counter_ns() - before
    return times


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
