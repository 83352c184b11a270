"""The scenario scale: bundles of 1, 10, 100, 1,000 tasks, made by leaving out and resampling.

All versions are open at once and share sessions, and what all have in common is in memory once: a
frame takes its turns through each, so that they differ in the number of tasks and nothing else.
The selection, which alone depends on their number, is timed by itself as well.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cad_edge.data.image import Frame
from cad_edge.errors import OptionError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Pointer
from cad_edge_benchmarks.instruments.cold_start import spread, start_one
from cad_edge_benchmarks.instruments.context import BenchmarkContext
from cad_edge_benchmarks.instruments.environment import version_bytes
from cad_edge_benchmarks.instruments.frames import ShownFrame
from cad_edge_benchmarks.instruments.interleaved_timing import Nanoseconds, ratio_of
from cad_edge_benchmarks.instruments.probe import Probe
from cad_edge_benchmarks.instruments.report_schema import (
    Distribution,
    NamedFigure,
    ScalePoint,
    ScenarioResult,
    Spread,
)
from cad_edge_benchmarks.instruments.synthetic_tasks import VersionMaker
from cad_edge_benchmarks.instruments.timing import TimingPlan, distribution, in_turns, measurement
from cad_edge_runtime import Detection
from cad_edge_runtime.chain import Values
from cad_edge_runtime.engine_outputs import DISTANCE
from cad_edge_runtime.frames import image_batch, read_frame
from cad_edge_runtime.inspection import inspect_frames
from cad_edge_runtime.selection import Choice, select
from cad_edge_runtime.snapshot import Snapshot

RAM_PER_TASK = "unique memory per further task"
DISK_PER_TASK = "disk per further task"
REFERENCE = 10
"""Tasks of the version that others are compared with, or the fewest there are."""
_OPENINGS = 3
_SELECTION_SECONDS = 0.3


class SelectionAlone:
    """The selector's own graphs and the choice: what a routed frame costs on top of a given one.

    The runtime counts the trunk to the stage ``select`` because the selector asks for it first; the
    engine then finds it done. Here the values of shared stages are put in place beforehand.
    """

    def __init__(self, snapshot: Snapshot, frame: Frame) -> None:
        """Prepare one frame (h, w, 3) uint8 for a version that has a selector."""
        assert snapshot.selector is not None
        self._selector = snapshot.selector
        self._snapshot = snapshot
        values: Values = {
            self._selector.image: image_batch([read_frame(frame, None)], self._selector.recipe)
        }
        self._selector.run(values)
        engines = {
            name
            for task in snapshot.tasks.values()
            for step in task.chain.steps
            for name in step.names
        }
        # The selector fetches more outputs of a shared stage than an engine uses.
        own = [step for step in self._selector.steps if not engines.intersection(step.names)]
        dropped = {name for step in own for name in step.names}
        self._before = {name: value for name, value in values.items() if name not in dropped}

    def run(self, number: int) -> Choice:
        """Choose the product of the frame once."""
        del number  # every round is the same frame: the work depends on the tasks alone
        values = {**self._before}
        self._selector.run(values)
        distance = values[self._selector.results[DISTANCE]]
        return select(distance, self._snapshot.columns, self._snapshot.reaches)[0]


@dataclass(frozen=True)
class _OpenVersion:
    """One version, opened, and what opening it took."""

    snapshot: Snapshot
    selection: Distribution
    open_seconds: Spread
    started: Probe
    disk: int


def scale(
    context: BenchmarkContext, announce: Callable[[str], None]
) -> tuple[ScenarioResult, list[ScalePoint]]:
    """Measure versions with the numbers of tasks that ``context`` names.

    Raises
    ------
    OptionError
        The bundle has too few tasks for a number, and none that can be copied.
    """
    maker = VersionMaker(
        context.bundle, context.place / "scale", context.settings.seed, not context.frames.are_real
    )
    opened: dict[int, _OpenVersion] = {}
    previous = None
    product, frames = most_shown(context)
    for count in context.settings.tasks:
        announce(f"scale, {count} task{'s' if count > 1 else ''}")
        pointer = maker.commit(maker.names(count, product))
        opened[count] = _open(context, maker.path, pointer, previous)
        previous = opened[count].snapshot
    subjects = {
        str(count): partial(_inspect, one.snapshot, frames) for count, one in opened.items()
    }
    series = in_turns(subjects, context.plan)
    times = {count: series[str(count)].times for count in opened}
    notes = [
        f"The bundle has {len(maker.learned)} tasks; versions of more hold resampled copies of "
        "them, which have objects of their own, and all versions are fitted and opened as "
        f"exported ones are. The frames are those of {product}, which every version holds, and may "
        "be recognised as any copy of it."
    ]
    result = ScenarioResult(
        scenario="scale",
        headline=_name(max(opened)),
        measurements=[measurement(_name(count), series[str(count)]) for count in opened],
        figures=_per_task(opened),
        notes=notes,
    )
    return result, _points(opened, times)


def _name(count: int) -> str:
    return f"routed, {count} task{'s' if count > 1 else ''}"


def most_shown(context: BenchmarkContext) -> tuple[str, list[ShownFrame]]:
    """Product that most frames show, with these frames.

    Raises
    ------
    OptionError
        No frame shows a known product.
    """
    with context.open() as detector:
        shown = [(one.inspected(detector).task, one) for one in context.frames.shown]
    known = Counter(task for task, _ in shown if task is not None)
    if not known:
        raise OptionError(
            "the scenario needs frames of a known product, and every one was refused; give "
            "--images that show one"
        )
    product, _ = known.most_common(1)[0]
    return product, [one for task, one in shown if task == product]


def _inspect(snapshot: Snapshot, shown: list[ShownFrame], number: int) -> list[Detection]:
    """Do what `Detector.detect` does, by one of several versions."""
    began = time.perf_counter()
    one = shown[number % len(shown)]
    return inspect_frames(snapshot, [read_frame(one.rgb, one.depth)], None, began)


def _open(
    context: BenchmarkContext, bundle: Path, pointer: Pointer, previous: Snapshot | None
) -> _OpenVersion:
    """Open the version in force as a detector, in a process of its own, and to stay open."""
    seconds = []
    for _ in range(_OPENINGS):
        began = time.perf_counter()
        context.open(bundle).close()
        seconds.append(time.perf_counter() - began)
    started = start_one(context, bundle)
    snapshot = context.snapshot(bundle, previous)
    plan = TimingPlan(min(_SELECTION_SECONDS, context.plan.seconds), context.plan.samples)
    alone = SelectionAlone(snapshot, context.frames[0].rgb)
    selection = in_turns({"selection": alone.run}, plan)["selection"]
    store = Bundle(bundle)
    return _OpenVersion(
        snapshot=snapshot,
        selection=distribution(selection.times),
        open_seconds=spread(seconds),
        started=started,
        disk=version_bytes(store, store.manifest(), pointer.manifest),
    )


def _points(opened: dict[int, _OpenVersion], times: dict[int, Nanoseconds]) -> list[ScalePoint]:
    base = REFERENCE if REFERENCE in opened else min(opened)
    points = []
    for count, one in opened.items():
        ratio = ratio_of(times[count], times[base])
        points.append(
            ScalePoint(
                tasks=count,
                selection=one.selection,
                ratio=Spread(
                    median=ratio.median, low=ratio.lower_quartile, high=ratio.upper_quartile
                ),
                compared_with=base,
                open_seconds=one.open_seconds,
                rss=one.started.memory.rss,
                uss=one.started.memory.uss,
                disk=one.disk,
            )
        )
    return points


def _per_task(opened: dict[int, _OpenVersion]) -> list[NamedFigure]:
    """Fit a straight line through all versions: what a further task costs."""
    if len(opened) < 2:
        return []
    counts = np.array(list(opened), dtype=np.float64)
    costs = {
        RAM_PER_TASK: [one.started.memory.uss for one in opened.values()],
        DISK_PER_TASK: [one.disk for one in opened.values()],
    }
    return [
        NamedFigure(name=name, value=float(np.polyfit(counts, values, 1)[0]) / 1e6, unit="MB")
        for name, values in costs.items()
    ]
