"""The scenario hot-load: a task arrives while frames of its neighbours run.

One thread inspects frames of the other products without a pause. The newcomer's version is put in
force again and again, and the detector picks it up as it does at the line; a frame counts as one
beside an arrival where it overlaps the time from just before the pointer was replaced to the moment
when the new version answers.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cad_edge.errors import CadEdgeError, OptionError
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.instruments.context import Rig
from cad_edge_benchmarks.instruments.frames import Picture
from cad_edge_benchmarks.instruments.hot_reload import GIVEN_UP, Versions
from cad_edge_benchmarks.instruments.report_schema import P99_SAMPLES, Figure, ScenarioResult
from cad_edge_benchmarks.instruments.synthetic_tasks import VersionMaker
from cad_edge_benchmarks.instruments.timing import Pace, Series, measurement
from cad_edge_runtime import Detection, Detector

BESIDE = "while a task arrives"
QUIET = "nothing arrives"
_GAP = 0.02  # seconds of quiet before and after an arrival
_LOOK = 0.0005  # seconds between looks at the detector's version
_LONGEST = 10  # times the stated duration, after which fewer than 1,000 frames have to do

Span = tuple[int, int]
"""Beginning and end, in nanoseconds of `time.perf_counter_ns`."""


class _Line(threading.Thread):
    """Inspects the same frames over and over; keeps when, and what was said without its map."""

    def __init__(self, detector: Detector, shown: Sequence[Picture]) -> None:
        super().__init__(name="line", daemon=True)
        self.judged: list[tuple[Span, Detection]] = []
        self.lost = 0
        self.stop = threading.Event()
        self._detector, self._shown = detector, shown

    def run(self) -> None:
        """Inspect until stopped; a frame without an answer is lost."""
        while not self.stop.is_set():
            picture = self._shown[len(self.judged) % len(self._shown)]
            began = time.perf_counter_ns()
            try:
                found = picture.inspected(self._detector)
            except CadEdgeError:
                self.lost += 1
                continue
            span = began, time.perf_counter_ns()
            self.judged.append((span, replace(found, anomaly_map=None)))


def hot_load(rig: Rig) -> ScenarioResult:
    """Let a task arrive again and again beside a line.

    Raises
    ------
    OptionError
        The bundle has one task, so there is no neighbour, or no frame shows one.
    """
    maker = VersionMaker(rig.bundle, rig.place / "hot-load", rig.seed, not rig.pictures.are_real)
    if len(maker.learned) < 2:
        raise OptionError("the scenario hot-load needs two tasks, one to arrive and a neighbour")
    newcomer, shown = _newcomer(rig, maker)
    pointer = maker.path / "bundle.json"
    maker.commit([name for name in maker.learned if name != newcomer])
    older = pointer.read_bytes()
    maker.commit(maker.learned)
    versions = Versions(maker.path, older, pointer.read_bytes())
    replace_file(pointer, older)
    with Detector.open(maker.path, rig.device, rig.threads) as detector:
        line = _Line(detector, shown)
        line.start()
        try:
            arrivals, departures = _arrivals(detector, versions, rig.pace, line)
        finally:
            line.stop.set()
            line.join()
    return _result(newcomer, line, arrivals, departures)


def _newcomer(rig: Rig, maker: VersionMaker) -> tuple[str, list[Picture]]:
    """Choose the task that fewest frames show, the last learned of equals; frames of the others."""
    with rig.open() as detector:
        shown = [(one.inspected(detector).task, one) for one in rig.pictures.shown]
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
    detector: Detector, versions: Versions, pace: Pace, line: _Line
) -> tuple[list[Span], list[Span]]:
    """Put the newer and the older version in force in turns until there are frames enough."""
    arrivals: list[Span] = []
    departures: list[Span] = []
    began = time.perf_counter()
    while True:
        time.sleep(_GAP)
        arrivals.append(_switch(detector, versions, versions.newer))
        time.sleep(_GAP)
        departures.append(_switch(detector, versions, versions.older))
        passed = time.perf_counter() - began
        beside = sum(_overlaps(span, arrivals) for span, _ in [*line.judged])
        if passed > pace.seconds and (beside >= P99_SAMPLES or passed > _LONGEST * pace.seconds):
            return arrivals, departures


def _switch(detector: Detector, versions: Versions, version: bytes) -> Span:
    """Put ``version`` in force and wait until frames are answered by it."""
    before = detector.version
    began = time.perf_counter_ns()
    replace_file(versions.bundle / "bundle.json", version)
    while detector.version == before:
        if time.perf_counter_ns() - began > GIVEN_UP * 1e9:
            raise CadEdgeError(
                f"the new version was not picked up within {GIVEN_UP:g} s: "
                f"{detector.last_refresh_error or 'the bundle is not looked at'}"
            )
        time.sleep(_LOOK)
    return began, time.perf_counter_ns()


def _overlaps(span: Span, others: Sequence[Span]) -> bool:
    return any(span[0] < end and begin < span[1] for begin, end in others)


def _result(
    newcomer: str, line: _Line, arrivals: list[Span], departures: list[Span]
) -> ScenarioResult:
    """Divide the frames of the line; those beside a version that goes back count for neither."""
    series = {BESIDE: Series(), QUIET: Series()}
    for span, found in line.judged:
        if _overlaps(span, arrivals):
            series[BESIDE].add(span[1] - span[0], found)
        elif not _overlaps(span, departures):
            series[QUIET].add(span[1] - span[0], found)
    measured = {name: measurement(name, one) for name, one in series.items() if one.nanoseconds}
    visible = np.array([end - begin for begin, end in arrivals]) / 1e6
    figures = [
        Figure(name="arrivals", value=len(arrivals), unit=""),
        Figure(
            name="new version answers after, median", value=float(np.median(visible)), unit="ms"
        ),
        Figure(name="new version answers after, slowest", value=float(visible.max()), unit="ms"),
        Figure(name="frames lost", value=line.lost, unit=""),
    ]
    tails = [one.latency.p99 for one in measured.values()]
    if len(tails) == 2 and tails[0] is not None and tails[1] is not None:
        figures.append(
            Figure(name="p99 beside an arrival / p99 without", value=tails[0] / tails[1], unit="x")
        )
    return ScenarioResult(
        scenario="hot-load",
        headline=BESIDE,
        measurements=list(measured.values()),
        figures=figures,
        notes=[
            f"{newcomer} arrives; the frames are of the other products, and one thread shows them "
            "without a pause."
        ],
    )
