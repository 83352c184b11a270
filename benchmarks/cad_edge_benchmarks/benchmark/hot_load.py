"""The scenario hot-load: a task arrives while frames of its neighbours run.

One thread inspects frames of the other products without a pause. The newcomer's version is put in
force again and again, and the detector picks it up as it does at the line; a frame counts as one
beside an arrival where it overlaps the time from just before the pointer was replaced to the moment
when the new version answers. A frame is lost when it gets no answer, and wrong when its task,
verdict or score differs from what the version that answered gives when it is opened alone.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cad_edge.errors import CadEdgeError, OptionError
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.instruments.context import BenchmarkContext
from cad_edge_benchmarks.instruments.frames import ShownFrame
from cad_edge_benchmarks.instruments.report_schema import P99_SAMPLES, NamedFigure, ScenarioResult
from cad_edge_benchmarks.instruments.synthetic_tasks import VersionMaker
from cad_edge_benchmarks.instruments.timing import Series, TimingPlan, measurement
from cad_edge_runtime import Detection, Detector

BESIDE = "while a task arrives"
QUIET = "nothing arrives"
SLOWEST = "new version answers after, slowest"
LOST, WRONG = "frames lost", "frames wrong"
_GAP = 0.02  # seconds of quiet before and after an arrival
_LOOK = 0.0005  # seconds between looks at the detector's version
_GIVEN_UP = 10.0  # seconds after which a version counts as never picked up
_LONGEST = 10  # times the stated duration, after which fewer than 1,000 frames have to do

Span = tuple[int, int]
"""Beginning and end, in nanoseconds of `time.perf_counter_ns`."""

Answer = tuple[str | None, str, float | None]


class FrameLoop(threading.Thread):
    """Inspects the same frames over and over; keeps when, and what was said without its map."""

    def __init__(self, detector: Detector, shown: Sequence[ShownFrame]) -> None:
        super().__init__(name="line", daemon=True)
        self.inspected: list[tuple[Span, int, Detection]] = []
        """When, the number of the frame, and what was said."""
        self.lost = 0
        self.stop = threading.Event()
        self._detector, self._shown = detector, shown

    def run(self) -> None:
        """Inspect until stopped; a frame without an answer is lost."""
        while not self.stop.is_set():
            number = len(self.inspected) % len(self._shown)
            began = time.perf_counter_ns()
            try:
                found = self._shown[number].inspected(self._detector)
            except CadEdgeError:
                self.lost += 1
                continue
            span = began, time.perf_counter_ns()
            self.inspected.append((span, number, replace(found, anomaly_map=None, level_maps=None)))

    def wrong(self, expected: Mapping[int, Sequence[Answer]]) -> int:
        """Count answers that differ from those ``expected`` of their version."""
        return sum(
            _answer(found) != expected[found.version][number] for _, number, found in self.inspected
        )


def _answer(found: Detection) -> Answer:
    return found.task, found.verdict, found.score


def hot_load(context: BenchmarkContext) -> ScenarioResult:
    """Let a task arrive again and again beside a line.

    Raises
    ------
    OptionError
        The bundle has one task, so there is no neighbour, or no frame shows one.
    """
    settings, place = context.settings, context.place / "hot-load"
    maker = VersionMaker(context.bundle, place, settings.seed, not context.frames.are_real)
    if len(maker.learned) < 2:
        raise OptionError("the scenario hot-load needs two tasks, one to arrive and a neighbour")
    newcomer, shown = _newcomer(context, maker)
    pointer = maker.path / "bundle.json"
    versions, expected = [], {}
    for tasks in ([name for name in maker.learned if name != newcomer], maker.learned):
        version = maker.commit(tasks).version
        versions.append(pointer.read_bytes())
        with context.open(maker.path) as detector:
            expected[version] = [_answer(frame.inspected(detector)) for frame in shown]
    replace_file(pointer, versions[0])
    with Detector.open(maker.path, settings.device, settings.threads) as detector:
        line = FrameLoop(detector, shown)
        line.start()
        try:
            arrivals, departures = _arrivals(detector, pointer, versions, context.plan, line)
        finally:
            line.stop.set()
            line.join()
    return _result(newcomer, line, arrivals, departures, line.wrong(expected))


def _newcomer(context: BenchmarkContext, maker: VersionMaker) -> tuple[str, list[ShownFrame]]:
    """Choose the task that fewest frames show, the last learned of equals; frames of the others."""
    with context.open() as detector:
        shown = [(one.inspected(detector).task, one) for one in context.frames.shown]
    count = Counter(task for task, _ in shown)
    newcomer = min(reversed(maker.learned), key=lambda name: count[name])
    others = [one for task, one in shown if task not in (newcomer, None)]
    if not others:
        raise OptionError(
            "the scenario hot-load needs frames of a known product other than the one that "
            "arrives; give --images that show one"
        )
    return newcomer, others


def _arrivals(
    detector: Detector,
    pointer: Path,
    versions: Sequence[bytes],
    plan: TimingPlan,
    line: FrameLoop,
) -> tuple[list[Span], list[Span]]:
    """Let ``pointer`` name the newer and the older of two versions in turns, for frames enough."""
    older, newer = versions
    arrivals: list[Span] = []
    departures: list[Span] = []
    began = time.perf_counter()
    while True:
        time.sleep(_GAP)
        arrivals.append(_switch(detector, pointer, newer))
        time.sleep(_GAP)
        departures.append(_switch(detector, pointer, older))
        passed = time.perf_counter() - began
        beside = sum(_overlaps(span, arrivals) for span, *_ in [*line.inspected])
        if passed > plan.seconds and (beside >= P99_SAMPLES or passed > _LONGEST * plan.seconds):
            return arrivals, departures


def _switch(detector: Detector, pointer: Path, version: bytes) -> Span:
    """Put ``version`` in force and wait until frames are answered by it."""
    before = detector.version
    began = time.perf_counter_ns()
    replace_file(pointer, version)
    while detector.version == before:
        if time.perf_counter_ns() - began > _GIVEN_UP * 1e9:
            raise CadEdgeError(
                f"the new version was not picked up within {_GIVEN_UP:g} s: "
                f"{detector.last_refresh_error or 'the bundle is not looked at'}"
            )
        time.sleep(_LOOK)
    return began, time.perf_counter_ns()


def _overlaps(span: Span, others: Sequence[Span]) -> bool:
    return any(span[0] < end and begin < span[1] for begin, end in others)


def _result(
    newcomer: str, line: FrameLoop, arrivals: list[Span], departures: list[Span], wrong: int
) -> ScenarioResult:
    """Divide the frames of the line; those beside a version that goes back count for neither."""
    series = {BESIDE: Series(), QUIET: Series()}
    for span, _, found in line.inspected:
        if _overlaps(span, arrivals):
            series[BESIDE].add(span[1] - span[0], found)
        elif not _overlaps(span, departures):
            series[QUIET].add(span[1] - span[0], found)
    measured = [measurement(name, one) for name, one in series.items() if one.nanoseconds]
    visible = np.array([end - begin for begin, end in arrivals]) / 1e6
    middle = float(np.median(visible))
    figures = [
        NamedFigure(name="arrivals", value=len(arrivals), unit=""),
        NamedFigure(name="new version answers after, median", value=middle, unit="ms"),
        NamedFigure(name=SLOWEST, value=float(visible.max()), unit="ms"),
        NamedFigure(name=LOST, value=line.lost, unit=""),
        NamedFigure(name=WRONG, value=wrong, unit=""),
    ]
    tails = [one.latency.p99 for one in measured]
    if len(tails) == 2 and tails[0] is not None and tails[1] is not None:
        figures.append(
            NamedFigure(
                name="p99 beside an arrival / p99 without", value=tails[0] / tails[1], unit="x"
            )
        )
    return ScenarioResult(
        scenario="hot-load",
        headline=BESIDE,
        measurements=measured,
        figures=figures,
        notes=[
            f"{newcomer} arrives; the frames are of the other products, and one thread shows them "
            "without a pause."
        ],
    )
