"""Latency: for every model of anomalib, cad-edge and all its inferencers in one run of turns."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from cad_edge_benchmarks.instruments.inspection_turns import Subject, take_turns_between
from cad_edge_benchmarks.instruments.subprocess_worker import Worker
from cad_edge_studies.peers.anomalib_worker import RUNTIMES
from cad_edge_studies.peers.cad_edge_bundles import ProductLine
from cad_edge_studies.peers.environment import PeerEnvironment

KINDS = ("patchcore-1000", "patchcore-10000", "padim", "stfpm", "efficientad-s")
"""Models of anomalib, see `anomalib_models`."""


def name_of(precision: str, routed: bool) -> str:
    """Name of cad-edge's row."""
    return f"cad-edge {precision}, {'routed' if routed else 'task given'}"


def run_model(
    kind: str, line: ProductLine, peers: PeerEnvironment, models: Path, rounds: int
) -> dict[str, dict[str, object]]:
    """Time cad-edge and every inferencer of one model in turns.

    Parameters
    ----------
    kind
        One of `KINDS`, exported to ``models / kind`` before.
    rounds
        Turns of each that count.

    Returns
    -------
    Rows by name, those of cad-edge by `name_of`, the others by their runtime: latency of the
    ``rested`` and the ``following`` frames of a turn, ``verdicts``, size of the ``map``, and
    ``memory`` of the row's process at the end, with the frames and the interpreter.
    """
    unknown = [None] * len(line.tasks)
    with ExitStack() as stack:
        subjects: dict[str, Subject] = {}
        for precision in line.bundles:
            worker = stack.enter_context(Worker(line.launch(precision)))
            subjects[name_of(precision, routed=True)] = Subject(worker, unknown)
            subjects[name_of(precision, routed=False)] = Subject(worker, line.tasks)
        for runtime in RUNTIMES:
            place = line.place / f"{kind}-{runtime}"
            launch = peers.worker(runtime, line.frames, [models / kind], place)
            subjects[runtime] = Subject(stack.enter_context(Worker(launch)), unknown)
        times = take_turns_between(subjects, rounds)
        return {
            name: {
                **times[name].latencies(),
                "verdicts": times[name].verdicts,
                "map": times[name].map,
                "memory": asdict(subject.worker.memory()),
            }
            for name, subject in subjects.items()
        }


def export_models(line: ProductLine, peers: PeerEnvironment, models: Path, seed: int) -> None:
    """Build and export every model of `KINDS` below ``models``."""
    orders = [f"{kind}:{seed}:{models / kind}" for kind in KINDS]
    peers.export(line.frames, orders, line.place / "exports")
