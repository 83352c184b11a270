"""The measurement: transformers and every bundle in turns, then what a further task costs."""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cad_edge.errors import CadEdgeError
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.bundle_contents import objects_bytes
from cad_edge_benchmarks.instruments.inspection_turns import (
    REFUSED,
    Subject,
    detector_launch,
    inspect,
    take_turns_between,
)
from cad_edge_benchmarks.instruments.interleaved_timing import ratio_of
from cad_edge_benchmarks.instruments.subprocess_worker import Launch, Worker
from cad_edge_studies.cl_anomaly_full_size.dimensions import (
    FLOAT,
    REFUSAL,
    ROUNDED,
    Dimensions,
    bundle_of,
)

PEER = "transformers"
WARM_UP = 1  # frames take seconds; the first one maps and packs, the second is like all others


def compare(place: Path, dimensions: Dimensions, rounds: int, threads: int) -> dict[str, Any]:
    """Measure what `build` made in ``place`` with ``dimensions``.

    In each of the ``rounds`` that count every subject inspects two frames with ``threads``.
    """
    refusal = place / REFUSAL
    refused = {ROUNDED: refusal.read_text("utf-8")} if refusal.exists() else {}
    precisions = [one for one in (FLOAT, ROUNDED) if one not in refused]
    return {
        "rows": _rows(place, dimensions, precisions, rounds, threads),
        "refused": refused,
        "growth": {
            "disk": disk_growth(bundle_of(place, FLOAT)),
            "unique_memory": memory_growth(place, bundle_of(place, FLOAT), threads),
        },
    }


def _rows(
    place: Path, dimensions: Dimensions, precisions: Sequence[str], rounds: int, threads: int
) -> dict[str, object]:
    module = "cad_edge_studies.cl_anomaly_full_size.transformers_worker"
    files = (place / "base", place / "prompt.json", place / "frames.npy")
    variables = {"OMP_NUM_THREADS": str(threads)}
    peer = Launch(PEER, ("-m", module, *files, threads), place / "workers", variables)
    ours = {name: _detector(place, bundle_of(place, name), threads) for name in precisions}
    launches = {PEER: peer, **ours}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(one)) for name, one in launches.items()}
        subjects = {name: Subject(one, [None] * dimensions.tasks) for name, one in workers.items()}
        times = take_turns_between(subjects, rounds, warm_up=WARM_UP)
        memory = {name: (one.memory(), one.peak()) for name, one in workers.items()}
    if refused := [name for name, own in times.items() if REFUSED in own.verdicts]:
        raise CadEdgeError(f"{refused[0]} refuses frames of its own products; build it again")
    theirs = times[PEER]
    return {
        name: {
            **own.latencies(),
            "to_peer": {
                "rested": asdict(ratio_of(own.rested, theirs.rested)),
                "following": asdict(ratio_of(own.following, theirs.following)),
            },
            "verdicts": own.verdicts,
            "memory": asdict(memory[name][0]),
            "peak": memory[name][1],
        }
        for name, own in times.items()
    }


def _detector(place: Path, bundle: Path, threads: int) -> Launch:
    return detector_launch(bundle, place / "frames.npy", threads, place / "workers")


def disk_growth(path: Path) -> dict[str, float]:
    """Compare the newest version of a bundle with the one before, per task between them.

    Returns
    -------
    Bytes per further task: ``in_force``, of the objects that the newest version names, hence after
    garbage collection; ``written``, what it made superfluous included; and of the ``manifest``.
    """
    bundle = Bundle(path)
    newest = bundle.manifest()
    assert newest.previous is not None
    before = bundle.manifest(newest.previous)
    tasks = len(newest.tasks) - len(before.tasks)
    new, old = set(newest.objects()), set(before.objects())
    gained, lost = objects_bytes(bundle, new - old), objects_bytes(bundle, old - new)
    pages = [
        (path / "manifests" / f"{sha}.json").stat().st_size
        for sha in (bundle.pointer().manifest, newest.previous)
    ]
    bytes_of = {"in_force": gained - lost, "written": gained, "manifest": pages[0] - pages[1]}
    return {name: size / tasks for name, size in bytes_of.items()}


def memory_growth(place: Path, bundle: Path, threads: int) -> float:
    """Measure the unique bytes of a process per further task, each after the same frames."""
    first = place / "first-version"
    shutil.rmtree(first, ignore_errors=True)
    shutil.copytree(bundle, first, copy_function=os.link)
    # The pointer is replaced and not written to, so that the original keeps its own.
    Bundle(first).rollback(Bundle(bundle).manifest().version - 1)
    before, after = (_unique(place, one, threads) for one in (first, bundle))
    return (after[0] - before[0]) / (after[1] - before[1])


def _unique(place: Path, bundle: Path, threads: int) -> tuple[int, int]:
    """Return the unique bytes of a detector's process, and how many tasks it has."""
    names = sorted(Bundle(bundle).manifest().tasks)
    with Worker(_detector(place, bundle, threads)) as worker:
        found = inspect(worker, (0, 0), (names[0], names[0]))
        if REFUSED in {one.verdict for one in found}:
            raise CadEdgeError(f"{bundle} refuses a frame of {names[0]}; build it again")
        return worker.memory().uss, len(names)
