"""Who inspects: a detector in a process of its own, and transformers in another."""

import os
import shutil
import sys
from pathlib import Path

from cad_edge.store.bundle import Bundle
from cad_edge_studies.peers.workers import Launch


def ours(place: Path, bundle: Path, threads: int) -> Launch:
    """Describe a worker with the runtime on ``bundle``."""
    module = "cad_edge_studies.peers.cad_edge_worker"
    arguments = (str(bundle), str(place / "frames.npy"), str(threads))
    return _launch(bundle.name, module, arguments, place, threads)


def theirs(place: Path, threads: int) -> Launch:
    """Describe a worker with transformers on the base model."""
    module = "cad_edge_studies.cl_anomaly_full_size.transformers_worker"
    files = (place / "base", place / "prompt.json", place / "frames.npy")
    return _launch("transformers", module, (*map(str, files), str(threads)), place, threads)


def _launch(
    name: str, module: str, arguments: tuple[str, ...], place: Path, threads: int
) -> Launch:
    command = (sys.executable, "-m", module, *arguments)
    return Launch(name, command, place / "workers", {"OMP_NUM_THREADS": str(threads)})


def copy_of_version(bundle: Path, target: Path, version: int) -> Path:
    """Copy a bundle, its objects by links, and put an older version of the copy in force."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(bundle, target, copy_function=os.link)
    # The pointer is replaced and not written to, so that the original keeps its own.
    Bundle(target).rollback(version)
    return target
