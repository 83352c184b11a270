"""Device processes: how long they take to their first verdict, and what memory they hold.

A process is started anew on the bundle, imports what a device imports and nothing else, gives one
verdict, and then judges the same frame with every task given, so that no task's memory is missing.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.context import BenchmarkContext
from cad_edge_benchmarks.instruments.memory import memory_of
from cad_edge_benchmarks.instruments.probe import Probe, probe, probe_often
from cad_edge_benchmarks.instruments.report_schema import MemoryUse, ScenarioResult, Spread
from cad_edge_benchmarks.instruments.timing import Series, measurement

STARTS = 10
"""Processes of the scenario cold-start."""
FEW_STARTS = 3
"""Processes where only their memory is asked for."""


def memory_is_told() -> bool:
    """Whether this system's kernel tells the memory of a process."""
    try:
        memory_of()
    except CadEdgeError:
        return False
    return True


def start_processes(context: BenchmarkContext, count: int) -> list[Probe]:
    """Start ``count`` device processes, one after another.

    Raises
    ------
    CadEdgeError
        A process failed, or the system does not tell its memory.
    """
    image, depth = _first_frame(context)
    return probe_often(
        context.bundle, image, context.settings.threads, count, context.settings.device, depth
    )


def start_one(context: BenchmarkContext, bundle: Path) -> Probe:
    """Start one device process on another bundle with the same tasks and more."""
    image, depth = _first_frame(context)
    return probe(bundle, image, context.settings.threads, context.settings.device, depth)


def _first_frame(context: BenchmarkContext) -> tuple[Path, Path | None]:
    """File of the first frame and of its depth, written now if they are synthetic."""
    first = context.frames[0]
    if first.path is not None:
        return first.path, first.depth_path
    path, depth = context.place / "first-frame.png", context.place / "first-frame.tiff"
    if not path.exists():
        Image.fromarray(first.rgb).save(path)
    if first.depth is None:
        return path, None
    if not depth.exists():
        Image.fromarray(first.depth).save(depth)
    return path, depth


def cold_start(context: BenchmarkContext, probes: Sequence[Probe]) -> ScenarioResult:
    """Describe the time from before a process is started to its first verdict."""
    parts = {
        "process start to first verdict": [one.seconds for one in probes],
        "of it: start Python and import": [
            one.seconds - one.open_seconds - one.first_frame_seconds for one in probes
        ],
        "of it: open the bundle": [one.open_seconds for one in probes],
        "of it: first frame": [one.first_frame_seconds for one in probes],
    }
    found = [
        measurement(name, Series([round(value * 1e9) for value in seconds]))
        for name, seconds in parts.items()
    ]
    notes = [
        "Every start but the first, which does not count, finds program and bundle in the system's "
        "file cache; after a reboot the disk comes on top."
    ]
    return ScenarioResult(
        scenario="cold-start",
        headline=found[0].name,
        measurements=found,
        figures=[],
        notes=notes,
    )


def memory_use(probes: Sequence[Probe]) -> MemoryUse:
    """Describe the memory of device processes; that of a GPU is not known here."""
    return MemoryUse(
        processes=len(probes),
        rss=spread([one.memory.rss for one in probes]),
        pss=spread([one.memory.pss for one in probes]),
        uss=spread([one.memory.uss for one in probes]),
        peak_rss=spread([one.peak_rss for one in probes]),
        gpu=None,
    )


def spread(values: Sequence[float]) -> Spread:
    """Median, smallest and largest of a few values."""
    return Spread(median=float(np.median(values)), low=float(min(values)), high=float(max(values)))
