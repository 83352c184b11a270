"""Latency: for every model of anomalib, cad-edge and all its inferencers in one run of turns."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cad_edge_benchmarks.instruments.interleaved_timing import Latency, latency_of
from cad_edge_benchmarks.instruments.memory import Memory
from cad_edge_studies.peers.cad_edge_bundles import ProductLine
from cad_edge_studies.peers.environment import PeerEnvironment
from cad_edge_studies.peers.interleaving import Subject, Times, take_turns_between
from cad_edge_studies.peers.workers import Worker

KINDS = ("patchcore-1000", "patchcore-10000", "padim", "stfpm", "efficientad-s")
"""Models of anomalib, see `anomalib_models`."""
RUNTIMES = ("torch", "openvino", "openvino-f32", "openvino-int8", "onnxruntime")
"""Ways to run one, see `anomalib_worker`."""


@dataclass(frozen=True)
class Row:
    """One subject of a run."""

    rested: Latency
    """Of the first frame after a rest."""
    following: Latency
    """Of a frame that follows at once."""
    verdicts: Mapping[str, int]
    map: tuple[int, int] | None
    memory: Memory
    """Of its process at the end, with the frames and the interpreter."""


def name_of(precision: str, routed: bool) -> str:
    """Name of cad-edge's row."""
    return f"cad-edge {precision}, {'routed' if routed else 'task given'}"


def run_model(
    kind: str, line: ProductLine, peers: PeerEnvironment, models: Path, rounds: int
) -> dict[str, Row]:
    """Time cad-edge and every inferencer of one model in turns.

    Parameters
    ----------
    kind
        One of `KINDS`, exported to ``models / kind`` before.
    rounds
        Turns of each that count.

    Returns
    -------
    Rows by name: those of cad-edge by `name_of`, the others by their runtime.
    """
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        subjects: dict[str, Subject] = {}
        for precision in line.bundles:
            worker = stack.enter_context(Worker(line.launch(precision)))
            for routed in (True, False):
                name = name_of(precision, routed)
                workers[name] = worker
                subjects[name] = Subject(worker, [None] * len(line.tasks) if routed else line.tasks)
        for runtime in RUNTIMES:
            arguments = (runtime, line.frames, str(line.threads), models / kind)
            # A folder of its own: each would find the compiled model of the other in the cache.
            launch = peers.launch(f"{kind}-{runtime}", arguments, line.place / f"{kind}-{runtime}")
            workers[runtime] = stack.enter_context(Worker(launch))
            subjects[runtime] = Subject(workers[runtime], [None] * len(line.tasks))
        times = take_turns_between(subjects, rounds)
        return {name: _row(times[name], workers[name].memory()) for name in subjects}


def export_models(line: ProductLine, peers: PeerEnvironment, models: Path, seed: int) -> None:
    """Build and export every model of `KINDS` below ``models``."""
    orders = [f"{kind}:{seed}:{models / kind}" for kind in KINDS]
    peers.run("anomalib_models", (line.frames, str(line.threads), *orders), line.place / "exports")


def _row(times: Times, memory: Memory) -> Row:
    return Row(
        rested=latency_of(times.rested),
        following=latency_of(times.following),
        verdicts=times.verdicts,
        map=times.map,
        memory=memory,
    )
