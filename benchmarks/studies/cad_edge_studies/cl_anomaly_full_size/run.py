"""The measurement: transformers and every bundle in turns, then what a further task costs."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.interleaved_timing import latency_of, ratio_of
from cad_edge_benchmarks.instruments.memory import Memory
from cad_edge_studies.cl_anomaly_full_size.build import (
    FLOAT,
    PYTHON,
    ROUNDED,
    bundle_of,
    refusal_of,
)
from cad_edge_studies.cl_anomaly_full_size.dimensions import Dimensions
from cad_edge_studies.cl_anomaly_full_size.growth import disk_growth, memory_growth
from cad_edge_studies.cl_anomaly_full_size.subjects import ours, theirs
from cad_edge_studies.peers.interleaving import REFUSED, Subject, Times, take_turns_between
from cad_edge_studies.peers.workers import Worker, run_script

PEER = "transformers"
WARM_UP = 1  # frames take seconds; the first one maps and packs, the second is like all others

Row = dict[str, Any]


def build(place: Path, dimensions: Dimensions) -> None:
    """Make in ``place`` what is measured, unless it is there."""
    place.mkdir(parents=True, exist_ok=True)
    dimensions.write(place / "dimensions.json")
    # Threads that wait sleep, as in every learning: the machine may be shared.
    run_script([*PYTHON, str(place)], place, {"OMP_WAIT_POLICY": "PASSIVE"})


def run(place: Path, dimensions: Dimensions, rounds: int, threads: int) -> dict[str, Any]:
    """Measure what `build` made.

    Parameters
    ----------
    place
        Its folder.
    dimensions
        Those that it was built with.
    rounds
        Rounds that count, two frames of every subject in each.
    threads
        Of every subject.
    """
    bundle = bundle_of(place, FLOAT)
    return {
        "rows": _rows(place, dimensions, rounds, threads),
        "refused": _refusals(place),
        "growth": {
            "disk": asdict(disk_growth(bundle)),
            "unique_memory": memory_growth(place, bundle, threads),
        },
    }


def _rows(place: Path, dimensions: Dimensions, rounds: int, threads: int) -> dict[str, Row]:
    launches = {PEER: theirs(place, threads)}
    for precision in (FLOAT, ROUNDED):
        if bundle_of(place, precision).exists() and not refusal_of(place, precision).exists():
            launches[precision] = ours(place, bundle_of(place, precision), threads)
    nobody = [None] * dimensions.tasks
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(one)) for name, one in launches.items()}
        subjects = {name: Subject(worker, nobody) for name, worker in workers.items()}
        times = take_turns_between(subjects, rounds, warm_up=WARM_UP)
        memory = {name: (one.memory(), one.peak()) for name, one in workers.items()}
    return {name: _row(name, times, *memory[name]) for name in launches}


def _row(name: str, times: Mapping[str, Times], memory: Memory, peak: int) -> Row:
    own, peer = times[name], times[PEER]
    if REFUSED in own.verdicts:
        raise CadEdgeError(f"{name} refuses frames of its own products; build it again")
    return {
        "rested": asdict(latency_of(own.rested)),
        "following": asdict(latency_of(own.following)),
        "to_peer": {
            "rested": asdict(ratio_of(own.rested, peer.rested)),
            "following": asdict(ratio_of(own.following, peer.following)),
        },
        "verdicts": own.verdicts,
        "memory": asdict(memory),
        "peak": peak,
    }


def _refusals(place: Path) -> dict[str, str]:
    """Read what the exporter said instead of exporting, by precision."""
    files = {precision: refusal_of(place, precision) for precision in (FLOAT, ROUNDED)}
    return {name: file.read_text("utf-8") for name, file in files.items() if file.exists()}
