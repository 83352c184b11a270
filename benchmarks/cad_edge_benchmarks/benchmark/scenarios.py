"""The scenarios by name, and running the ones that were asked for.

Between two runs a machine changes: another program takes a core, the clock falls with the heat. A
comparison must not call that a change of the bundle. So a reference workload runs before and after
each scenario: as many threads as a graph uses hash the same bytes, and wait for the slowest of them
as a graph does.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from cad_edge.errors import OptionError
from cad_edge_benchmarks.benchmark.hot_load import hot_load
from cad_edge_benchmarks.benchmark.scaling import scale
from cad_edge_benchmarks.benchmark.single_stream import backbone, single_stream, switch
from cad_edge_benchmarks.benchmark.throughput import multi_stream, offline
from cad_edge_benchmarks.instruments.cold_start import (
    FEW_STARTS,
    STARTS,
    cold_start,
    memory_is_told,
    memory_use,
    start_processes,
)
from cad_edge_benchmarks.instruments.conditions import ScenarioName
from cad_edge_benchmarks.instruments.context import BenchmarkContext
from cad_edge_benchmarks.instruments.meters import Meter, MeterLog
from cad_edge_benchmarks.instruments.report_schema import (
    MemoryUse,
    ScalePoint,
    ScenarioResult,
    Spread,
)

NAMES: tuple[ScenarioName, ...] = get_args(ScenarioName)

_OF_FRAMES: dict[ScenarioName, Callable[[BenchmarkContext], ScenarioResult]] = {
    "single-stream": single_stream,
    "backbone": backbone,
    "offline": offline,
    "multi-stream": multi_stream,
    "switch": switch,
    "hot-load": hot_load,
}
_HASHED = b"\0" * 262_144  # hashlib lets other threads run from 2 KiB on
_HASHING_SECONDS = 0.2


@dataclass
class Results:
    """What was measured."""

    scenarios: list[ScenarioResult] = field(default_factory=list)
    scale: list[ScalePoint] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    memory: MemoryUse | None = None
    gpu_bytes: list[int] = field(default_factory=list)
    """Most GPU memory that this process held in each scenario, where it is told."""


def run_scenarios(
    context: BenchmarkContext,
    wanted: Sequence[ScenarioName],
    meter: Meter | None,
    announce: Callable[[str], None],
) -> Results:
    """Run scenarios one after another, and device processes for their memory.

    Parameters
    ----------
    context
        What they run on.
    wanted
        Scenarios, in this order. Of several, one that the bundle or the frames do not allow is left
        out, with its reason; alone it is an error.
    meter
        Read meanwhile; None reads nothing.
    announce
        Told the name of each scenario before it runs.

    Raises
    ------
    OptionError
        The only scenario does not fit the bundle or the frames.
    """
    results = Results()
    for name in wanted:
        announce(name)
        try:
            _run_metered(context, name, results, meter, announce)
        except OptionError as problem:
            if len(wanted) == 1:
                raise
            results.skipped[name] = str(problem)
    if results.memory is None and memory_is_told():
        announce("memory")
        results.memory = memory_use(start_processes(context, FEW_STARTS))
    if results.memory is not None:
        gpu = max(results.gpu_bytes, default=None)
        results.memory = results.memory.model_copy(update={"gpu": gpu})
    return results


def _run_metered(
    context: BenchmarkContext,
    name: ScenarioName,
    results: Results,
    meter: Meter | None,
    announce: Callable[[str], None],
) -> None:
    """Run one scenario, with the reference workload around it and the meter beside it."""
    rounds = _reference_workload(context.settings.threads)
    with MeterLog(meter) as log:
        found = _run(context, name, results, announce)
    rounds += _reference_workload(context.settings.threads)
    low, median, high = np.percentile(rounds, [25, 50, 75])
    speed = Spread(median=float(median), low=float(low), high=float(high))
    beside = {"power": log.power(), "reference_workload": speed}
    results.scenarios.append(found.model_copy(update=beside))
    held = log.gpu_bytes()
    results.gpu_bytes += [] if held is None else [held]


def _run(
    context: BenchmarkContext,
    name: ScenarioName,
    results: Results,
    announce: Callable[[str], None],
) -> ScenarioResult:
    """Run one scenario and add what it found besides its result."""
    if name == "scale":
        found, results.scale = scale(context, announce)
        return found
    if name == "cold-start":
        if not memory_is_told():
            raise OptionError("the scenario cold-start needs Linux, whose kernel tells memory")
        probes = start_processes(context, STARTS)
        results.memory = memory_use(probes)
        return cold_start(context, probes)
    return _OF_FRAMES[name](context)


def _reference_workload(threads: int) -> list[float]:
    """Hash in ``threads`` threads at once, again and again; milliseconds of each round."""
    rounds = []
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        while time.perf_counter() - began < _HASHING_SECONDS:
            before = time.perf_counter()
            list(pool.map(hashlib.sha256, [_HASHED] * threads))
            rounds.append((time.perf_counter() - before) * 1e3)
    return rounds
