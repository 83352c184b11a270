"""From an order to advice: sweep, combine, time, take."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cad_edge.data.stream import Stream
from cad_edge.errors import CadEdgeError
from cad_edge.store.atomic_write import replace_file
from cad_edge.store.lock import WriterLock
from cad_edge_benchmarks.advise.accuracy import Jury
from cad_edge_benchmarks.advise.combining import MOST, Tried, combine
from cad_edge_benchmarks.advise.latency import (
    FEW_ROUNDS,
    ROUNDS,
    peak_memory,
    pictures,
    time_bundles,
)
from cad_edge_benchmarks.advise.pareto_front import Budgets
from cad_edge_benchmarks.advise.predictions import Answers
from cad_edge_benchmarks.advise.search_space import DEFAULT, Setting, Space
from cad_edge_benchmarks.advise.trials import Taught, Trials, fingerprint
from cad_edge_benchmarks.advise.validation_split import Line, divide
from cad_edge_benchmarks.instruments.cold_start import memory_is_told
from cad_edge_benchmarks.instruments.interleaved_timing import Latency

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    data: Path
    stream: Stream
    space: Space
    taught: Taught
    budgets: Budgets


@dataclass(frozen=True)
class Swept:
    """What was measured; settings in the order in which they were tried, the default first."""

    line: Line
    data_sha256: str
    settings: tuple[Setting, ...]
    answers: dict[str, Answers]
    """By the name of the setting, as everything below."""
    latency: dict[str, Latency]
    peak_memory: dict[str, int | None]
    refused: dict[str, str]


def sweep(order: Order, work: Path, say: Say) -> Swept:
    """Try the default, every value alone, and some combinations; ``work`` keeps what was done.

    Raises
    ------
    CadEdgeError
        The images cannot be used, the default cannot be learned and exported, or another process
        is at work in ``work``.
    """
    with WriterLock(work / ".lock").hold():
        return _Sweep(order, work, say).run()


class _Sweep:
    def __init__(self, order: Order, work: Path, say: Say) -> None:
        self._order, self._work, self._say = order, work, say
        self._data = fingerprint(order.stream)
        seed = order.taught.seed
        self._line = divide(order.stream, work / "stand-ins" / self._data[:16] / str(seed), seed)
        self._trials = Trials(work, self._line, self._data, order.taught)
        self._answers: dict[str, Answers] = {}
        self._refused: dict[str, str] = {}
        self._settings: list[Setting] = []

    def run(self) -> Swept:
        first = self._order.space.first_round()
        self._say(_plan(self._order.space, len(first)))
        self._try(first)
        combined = [self._order.space.setting(changes) for changes in self._combinations()]
        if combined:
            self._say(f"combinations: {len(combined)} further settings")
        self._try(combined)
        self._say(f"timing {len(self._settings)} settings in turns")
        latency = self._time(ROUNDS)
        return Swept(
            line=self._line,
            data_sha256=self._data,
            settings=tuple(self._settings),
            answers=self._answers,
            latency=latency,
            peak_memory=self._memory(),
            refused=self._refused,
        )

    def _try(self, settings: list[Setting]) -> None:
        for number, setting in enumerate(settings, start=1):
            say = partial(self._say_of, f"[{number}/{len(settings)}] {setting.name}")
            try:
                self._answers[setting.name] = self._trials.answers(setting, say)
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
        budget = self._order.budgets.milliseconds
        path = self._work / "combinations" / f"{self._trials.key(settings, budget)}.json"
        if path.is_file():
            found: list[dict[str, str]] = json.loads(path.read_bytes())
            return found
        self._say("timing what was tried so far, to combine the best")
        latency = self._time(FEW_ROUNDS)
        jury = Jury(self._line, "choosing", self._order.taught.seed)
        default, *alone = [
            Tried(
                dict(one.changes),
                jury.accuracy(self._answers[one.name]).image_auroc,
                latency[one.name].p90,
            )
            for one in self._settings
        ]
        found = combine(default, alone, budget)
        replace_file(path, json.dumps(found).encode())
        return found

    def _time(self, rounds: int) -> dict[str, Latency]:
        bundles = {one.name: self._trials.bundle(one) for one in self._settings}
        taught = self._order.taught
        return time_bundles(bundles, pictures(self._line), taught.device, taught.threads, rounds)

    def _memory(self) -> dict[str, int | None]:
        if not memory_is_told():
            return {one.name: None for one in self._settings}
        self._say("starting device processes for their memory")
        taught, image = self._order.taught, pictures(self._line)[0]
        return {
            one.name: peak_memory(self._trials.bundle(one), image, taught.device, taught.threads)
            for one in self._settings
        }


def _plan(space: Space, count: int) -> str:
    parts = ", ".join(f"{len(axis.values) - 1} of {axis.name}" for axis in space.axes)
    return f"{count} settings: the default, {parts}; then at most {MOST} combinations"
