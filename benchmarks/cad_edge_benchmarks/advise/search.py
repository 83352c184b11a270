"""Trying settings: the default, every value alone, then combinations; all timed in turns."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cad_edge.data.stream import Stream
from cad_edge.errors import CadEdgeError
from cad_edge.store.atomic_write import replace_file
from cad_edge.store.lock import WriterLock
from cad_edge_benchmarks.advise.accuracy import SplitMetrics
from cad_edge_benchmarks.advise.latency import (
    FEW_ROUNDS,
    ROUNDS,
    peak_memory,
    pictures,
    time_bundles,
)
from cad_edge_benchmarks.advise.pareto_front import MOST, Budgets, Candidate, combine
from cad_edge_benchmarks.advise.predictions import Predictions
from cad_edge_benchmarks.advise.search_space import DEFAULT, Setting, Space
from cad_edge_benchmarks.advise.trials import LearningOptions, Trials, fingerprint_of
from cad_edge_benchmarks.advise.validation_split import SplitStream, split_stream
from cad_edge_benchmarks.instruments.cold_start import memory_is_told
from cad_edge_benchmarks.instruments.interleaved_timing import Latency

Say = Callable[[str], None]


@dataclass(frozen=True)
class SearchRequest:
    """What is asked for."""

    place: Path
    """What the option ``--stream`` names."""
    stream: Stream
    space: Space
    shared: LearningOptions
    budgets: Budgets


@dataclass(frozen=True)
class SweepResult:
    """What was measured; settings in the order in which they were tried, the default first."""

    data: SplitStream
    data_sha256: str
    settings: tuple[Setting, ...]
    predictions: dict[str, Predictions]
    """By the name of the setting, as everything below."""
    latency: dict[str, Latency]
    peak_memory: dict[str, int | None]
    refused: dict[str, str]


def sweep(request: SearchRequest, work: Path, say: Say) -> SweepResult:
    """Try the default, every value alone, and some combinations; ``work`` keeps what was done.

    Raises
    ------
    CadEdgeError
        The images cannot be used, the default cannot be learned and exported, or another process
        is at work in ``work``.
    """
    with WriterLock(work / ".lock").hold():
        return _Sweep(request, work, say).run()


class _Sweep:
    def __init__(self, request: SearchRequest, work: Path, say: Say) -> None:
        self._request, self._work, self._say = request, work, say
        self._sha256 = fingerprint_of(request.stream)
        seed = request.shared.seed
        place = work / "synthetic" / self._sha256[:16] / str(seed)
        self._data = split_stream(request.stream, place, seed)
        self._trials = Trials(work, self._data, self._sha256, request.shared)
        self._predictions: dict[str, Predictions] = {}
        self._refused: dict[str, str] = {}
        self._settings: list[Setting] = []

    def run(self) -> SweepResult:
        first = self._request.space.first_round()
        self._say(_plan(self._request.space, len(first)))
        self._try(first)
        combined = [self._request.space.setting(changes) for changes in self._combinations()]
        if combined:
            self._say(f"combinations: {len(combined)} further settings")
        self._try(combined)
        self._say(f"timing {len(self._settings)} settings in turns")
        latency = self._time(ROUNDS)
        return SweepResult(
            data=self._data,
            data_sha256=self._sha256,
            settings=tuple(self._settings),
            predictions=self._predictions,
            latency=latency,
            peak_memory=self._memory(),
            refused=self._refused,
        )

    def _try(self, settings: list[Setting]) -> None:
        for number, setting in enumerate(settings, start=1):
            say = partial(self._say_of, f"[{number}/{len(settings)}] {setting.name}")
            try:
                self._predictions[setting.name] = self._trials.predictions(setting, say)
            except CadEdgeError as problem:
                if setting.name == DEFAULT:
                    raise
                self._refused[setting.name] = str(problem)
                say(f"refused: {problem}")
            else:
                self._settings.append(setting)

    def _say_of(self, setting: str, doing: str) -> None:
        self._say(f"{setting}: {doing}")

    def _combinations(self) -> list[dict[str, str]]:
        """Combine what is on the front; what was combined once stays, whatever the times now."""
        settings = [(one.changes, one.size, one.options, one.precision) for one in self._settings]
        budget = self._request.budgets.milliseconds
        path = self._work / "combinations" / f"{self._trials.key(settings, budget)}.json"
        if path.is_file():
            found: list[dict[str, str]] = json.loads(path.read_bytes())
            return found
        self._say("timing what was tried so far, to combine the best")
        latency = self._time(FEW_ROUNDS)
        metrics = SplitMetrics(self._data, "selection", self._request.shared.seed)
        default, *alone = [
            Candidate(
                dict(one.changes),
                metrics.accuracy(self._predictions[one.name]).image_auroc,
                latency[one.name].p90,
            )
            for one in self._settings
        ]
        found = combine(default, alone, budget)
        replace_file(path, json.dumps(found).encode())
        return found

    def _time(self, rounds: int) -> dict[str, Latency]:
        bundles = {one.name: self._trials.bundle(one) for one in self._settings}
        shared = self._request.shared
        return time_bundles(bundles, pictures(self._data), shared.device, shared.threads, rounds)

    def _memory(self) -> dict[str, int | None]:
        if not memory_is_told():
            return {one.name: None for one in self._settings}
        self._say("starting device processes for their memory")
        shared, image = self._request.shared, pictures(self._data)[0]
        return {
            one.name: peak_memory(self._trials.bundle(one), image, shared.device, shared.threads)
            for one in self._settings
        }


def _plan(space: Space, count: int) -> str:
    parts = ", ".join(f"{len(axis.values) - 1} of {axis.name}" for axis in space.axes)
    return f"{count} settings: the default, {parts}; then at most {MOST} combinations"
