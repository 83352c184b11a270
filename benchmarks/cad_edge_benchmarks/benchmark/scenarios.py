"""The scenarios by name, and running the ones that were asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import get_args

from cad_edge.errors import OptionError
from cad_edge_benchmarks.benchmark.hot_load import hot_load
from cad_edge_benchmarks.benchmark.reference_workload import hash_for_a_while, yardstick_of
from cad_edge_benchmarks.benchmark.scaling import scale
from cad_edge_benchmarks.benchmark.single_stream import single_stream, switch
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
from cad_edge_benchmarks.instruments.context import Rig
from cad_edge_benchmarks.instruments.meters import Meter, MeterLog
from cad_edge_benchmarks.instruments.report_schema import MemoryUse, ScalePoint, ScenarioResult

NAMES: tuple[ScenarioName, ...] = get_args(ScenarioName)

_OF_FRAMES: dict[ScenarioName, Callable[[Rig], ScenarioResult]] = {
    "single-stream": single_stream,
    "offline": offline,
    "multi-stream": multi_stream,
    "switch": switch,
    "hot-load": hot_load,
}


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
    rig: Rig,
    wanted: Sequence[ScenarioName],
    meter: Meter | None,
    skip: bool,
    announce: Callable[[str], None],
) -> Results:
    """Run scenarios one after another, and device processes for their memory.

    Parameters
    ----------
    rig
        What they run on.
    wanted
        Scenarios, in this order.
    meter
        Read meanwhile; None reads nothing.
    skip
        Whether a scenario that the bundle or the frames do not allow is left out, with its reason,
        and not an error.
    announce
        Told the name of each scenario before it runs.

    Raises
    ------
    OptionError
        Unless ``skip``, a scenario does not fit the bundle or the frames.
    """
    results = Results()
    for name in wanted:
        announce(name)
        try:
            _run_metered(rig, name, results, meter, announce)
        except OptionError as problem:
            if not skip:
                raise
            results.skipped[name] = str(problem)
    if results.memory is None and memory_is_told():
        announce("memory")
        results.memory = memory_use(start_processes(rig, FEW_STARTS))
    if results.memory is not None:
        gpu = max(results.gpu_bytes, default=None)
        results.memory = results.memory.model_copy(update={"gpu": gpu})
    return results


def _run_metered(
    rig: Rig,
    name: ScenarioName,
    results: Results,
    meter: Meter | None,
    announce: Callable[[str], None],
) -> None:
    """Run one scenario, with the yardstick before and after it and the meter beside it."""
    rounds = hash_for_a_while(rig.threads)
    with MeterLog(meter) as log:
        _run(rig, name, results, announce)
    rounds += hash_for_a_while(rig.threads)
    beside = {"power": log.power(), "yardstick": yardstick_of(rounds)}
    results.scenarios[-1] = results.scenarios[-1].model_copy(update=beside)
    held = log.gpu_bytes()
    results.gpu_bytes += [] if held is None else [held]


def _run(rig: Rig, name: ScenarioName, results: Results, announce: Callable[[str], None]) -> None:
    """Run one scenario and add what it found."""
    if name == "scale":
        found, results.scale = scale(rig, announce)
        results.scenarios.append(found)
    elif name == "cold-start":
        if not memory_is_told():
            raise OptionError("the scenario cold-start needs Linux, whose kernel tells memory")
        probes = start_processes(rig, STARTS)
        results.memory = memory_use(probes)
        results.scenarios.append(cold_start(rig, probes))
    else:
        results.scenarios.append(_OF_FRAMES[name](rig))
