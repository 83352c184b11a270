"""Timing: how long frames are timed, and what their times come to.

The rules are those of trtexec (a warm-up of at least 200 ms, then at least 3 s of measuring) and of
the single-stream scenario of MLPerf Inference: one query after another, the next one as soon as
the last is answered, the 90th percentile as the headline. MLPerf asks for 1,024 queries and ten
minutes; here 100 queries are enough to be reported, and p99 is left out below 1,000.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from cad_edge_benchmarks.instruments.interleaved_timing import (
    WARM_UP_ROUNDS,
    WARM_UP_SECONDS,
    Nanoseconds,
    latency_of,
)
from cad_edge_benchmarks.instruments.report_schema import (
    CURVE,
    STAGES,
    Distribution,
    Measurement,
    StageTime,
)
from cad_edge_runtime.detection import Detection, Timings

_STRETCHES = 10


@dataclass(frozen=True)
class TimingPlan:
    """Least duration in seconds and least number of samples of a measurement; both are kept."""

    seconds: float = 3.0
    samples: int = 100


@dataclass
class Series:
    """What one subject took, sample by sample."""

    nanoseconds: list[int] = field(default_factory=list)
    inspected: list[Timings] = field(default_factory=list)
    refused: list[Timings] = field(default_factory=list)
    """Of frames of an unknown product, which end after the selection."""
    routed: bool = False
    """Whether a frame was recognised, and not given with its task."""
    verdicts: Counter[str] = field(default_factory=Counter)

    def add(self, nanoseconds: int, answer: object) -> None:
        """Keep a sample; ``answer`` is a detection, several, or what says nothing of frames."""
        self.nanoseconds.append(nanoseconds)
        for found in answer if isinstance(answer, list) else [answer]:
            if isinstance(found, Detection):
                self.verdicts[found.verdict] += 1
                self.routed = self.routed or found.similarity is not None
                (self.refused if found.task is None else self.inspected).append(found.timings)

    @property
    def times(self) -> Nanoseconds:
        """(n,) int64 nanoseconds."""
        return np.array(self.nanoseconds, dtype=np.int64)


Subject = Callable[[int], object]
"""Takes the number of the round; what it returns goes to `Series.add`."""


def in_turns(subjects: Mapping[str, Subject], plan: TimingPlan) -> dict[str, Series]:
    """Run all subjects once per round, A B C A B C ..., after a warm-up that does not count.

    Index n of each series is the same round.
    """
    _warm_up(subjects)
    series = {name: Series() for name in subjects}
    began, rounds = time.perf_counter(), 0
    while rounds < plan.samples or time.perf_counter() - began < plan.seconds:
        for name, run in subjects.items():
            before = time.perf_counter_ns()
            answer = run(rounds)
            series[name].add(time.perf_counter_ns() - before, answer)
        rounds += 1
    return series


def _warm_up(subjects: Mapping[str, Subject]) -> None:
    began, rounds = time.perf_counter(), 0
    while rounds < WARM_UP_ROUNDS or time.perf_counter() - began < WARM_UP_SECONDS:
        for run in subjects.values():
            run(rounds)
        rounds += 1


def distribution(times: Nanoseconds) -> Distribution:
    """Describe ``times`` (n,) int64 nanoseconds in the order in which they were taken, n >= 1."""
    stretches = np.array_split(times, min(_STRETCHES, len(times)))
    return Distribution(
        **asdict(latency_of(times)),
        stretches=[float(np.median(stretch)) / 1e6 for stretch in stretches],
        curve=[float(value) / 1e6 for value in np.percentile(times, CURVE)],
    )


def measurement(
    name: str, series: Series, decode: Nanoseconds | None = None, frames: int = 1
) -> Measurement:
    """Describe a series.

    Parameters
    ----------
    name
        Of the measurement.
    series
        At least one sample.
    decode
        (n,) int64 nanoseconds of decoding, shown as a stage and not part of the latency.
    frames
        Inspected in each sample.
    """
    times = series.times
    return Measurement(
        name=name,
        latency=distribution(times),
        frames_per_second=float(frames * len(times) / (times.sum() / 1e9)),
        stages=stage_times(series, decode),
        verdicts=dict(sorted(series.verdicts.items())),
    )


def stage_times(series: Series, decode: Nanoseconds | None) -> dict[str, StageTime]:
    """Time of each stage that ran, in the order of `STAGES`; of inspected frames if there are."""
    timings = series.inspected or series.refused
    seconds = {
        "decode": [] if decode is None else [float(value) / 1e9 for value in decode],
        "resize": [one.prepare for one in timings],
        "select": [one.select for one in timings] if series.routed else [],
        "detect": [one.detect for one in series.inspected],
        "post": [one.post for one in series.inspected],
    }
    found = {}
    for stage in STAGES:
        if seconds[stage]:
            p50, p90 = np.percentile(np.array(seconds[stage]) * 1e3, [50, 90])
            found[stage] = StageTime(p50=float(p50), p90=float(p90))
    return found
