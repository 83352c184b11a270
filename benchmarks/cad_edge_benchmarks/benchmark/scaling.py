"""The scenario scale: bundles of 1, 10, 100, 1,000 tasks, made by leaving out and resampling.

All versions are open at once and share sessions, and what all have in common is in memory once: a
frame takes its turns through each, so that they differ in the number of tasks and nothing else.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cad_edge.errors import OptionError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Pointer
from cad_edge_benchmarks.benchmark.selection import Choosing
from cad_edge_benchmarks.instruments.cold_start import spread, start_one
from cad_edge_benchmarks.instruments.context import Rig
from cad_edge_benchmarks.instruments.environment import version_bytes
from cad_edge_benchmarks.instruments.frames import Picture
from cad_edge_benchmarks.instruments.interleaved_timing import Nanoseconds, ratio_of
from cad_edge_benchmarks.instruments.probe import Probe
from cad_edge_benchmarks.instruments.report_schema import (
    Distribution,
    Figure,
    ScalePoint,
    ScenarioResult,
    Spread,
)
from cad_edge_benchmarks.instruments.synthetic_tasks import VersionMaker
from cad_edge_benchmarks.instruments.timing import Pace, distribution, in_turns, measurement
from cad_edge_runtime import Detection
from cad_edge_runtime.frames import read_frame
from cad_edge_runtime.inspection import inspect_frames
from cad_edge_runtime.snapshot import Snapshot

REFERENCE = 10
"""Tasks of the version that others are compared with, or the fewest there are."""
_OPENINGS = 3
_SELECTION_SECONDS = 0.3


@dataclass(frozen=True)
class _Grown:
    """One version, opened, and what opening it took."""

    snapshot: Snapshot
    selection: Distribution
    open_seconds: Spread
    started: Probe
    disk: int


def scale(rig: Rig, announce: Callable[[str], None]) -> tuple[ScenarioResult, list[ScalePoint]]:
    """Measure versions with the numbers of tasks that ``rig`` names.

    Raises
    ------
    OptionError
        The bundle has too few tasks for a number, and none that can be copied.
    """
    maker = VersionMaker(rig.bundle, rig.place / "scale", rig.seed, not rig.pictures.are_real)
    grown: dict[int, _Grown] = {}
    previous = None
    product, frames = _most_shown(rig)
    for count in rig.tasks:
        announce(f"scale, {count} task{'s' if count > 1 else ''}")
        pointer = maker.commit(maker.names(count, product))
        grown[count] = _open(rig, maker.path, pointer, previous)
        previous = grown[count].snapshot
    subjects = {str(count): partial(_inspect, one.snapshot, frames) for count, one in grown.items()}
    series = in_turns(subjects, rig.pace)
    times = {count: series[str(count)].times for count in grown}
    result = ScenarioResult(
        scenario="scale",
        headline=_name(max(grown)),
        measurements=[measurement(_name(count), series[str(count)]) for count in grown],
        figures=_per_task(grown),
        notes=[
            f"The bundle has {len(maker.learned)} tasks; versions of more hold resampled copies of "
            "them, which have objects of their own, and all versions are fitted and opened as "
            "exported ones are. "
            f"The frames are those of {product}, which every version holds, and may be recognised "
            "as any copy of it."
        ],
    )
    return result, _points(grown, times)


def _name(count: int) -> str:
    return f"routed, {count} task{'s' if count > 1 else ''}"


def _most_shown(rig: Rig) -> tuple[str, list[Picture]]:
    """Product that most frames show, with these frames: every version knows it.

    Raises
    ------
    OptionError
        No frame shows a known product.
    """
    with rig.open() as detector:
        shown = [(one.inspected(detector).task, one) for one in rig.pictures.shown]
    known = Counter(task for task, _ in shown if task is not None)
    if not known:
        raise OptionError(
            "the scenario scale needs frames of a known product, and every one was refused; give "
            "--images that show one"
        )
    product, _ = known.most_common(1)[0]
    return product, [one for task, one in shown if task == product]


def _inspect(snapshot: Snapshot, shown: list[Picture], number: int) -> list[Detection]:
    """Do what `Detector.detect` does, by one of several versions."""
    began = time.perf_counter()
    picture = shown[number % len(shown)]
    frame = read_frame(picture.rgb, picture.depth)
    return inspect_frames(snapshot, [frame], None, began)


def _open(rig: Rig, bundle: Path, pointer: Pointer, previous: Snapshot | None) -> _Grown:
    """Open the version in force as a detector, in a process of its own, and to stay open."""
    seconds = []
    for _ in range(_OPENINGS):
        began = time.perf_counter()
        rig.open(bundle).close()
        seconds.append(time.perf_counter() - began)
    started = start_one(rig, bundle)
    snapshot = rig.snapshot(bundle, previous)
    pace = Pace(min(_SELECTION_SECONDS, rig.pace.seconds), rig.pace.samples)
    choosing = Choosing(snapshot, rig.pictures[0].rgb)
    selection = in_turns({"selection": choosing.run}, pace)["selection"]
    store = Bundle(bundle)
    return _Grown(
        snapshot=snapshot,
        selection=distribution(selection.times),
        open_seconds=spread(seconds),
        started=started,
        disk=version_bytes(store, store.manifest(), pointer.manifest),
    )


def _points(grown: dict[int, _Grown], times: dict[int, Nanoseconds]) -> list[ScalePoint]:
    base = REFERENCE if REFERENCE in grown else min(grown)
    points = []
    for count, one in grown.items():
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


def _per_task(grown: dict[int, _Grown]) -> list[Figure]:
    """Fit a straight line through all versions: what a further task costs."""
    if len(grown) < 2:
        return []
    counts = np.array(list(grown), dtype=np.float64)
    costs = {
        "unique memory per further task": [one.started.memory.uss for one in grown.values()],
        "disk per further task": [one.disk for one in grown.values()],
    }
    return [
        Figure(name=name, value=float(np.polyfit(counts, values, 1)[0]) / 1e6, unit="MB")
        for name, values in costs.items()
    ]
