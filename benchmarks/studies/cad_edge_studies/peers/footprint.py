"""Memory of ten products, sizes of files, seconds of an import and of a start."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_benchmarks.instruments.memory import Memory
from cad_edge_benchmarks.instruments.probe import probe_often
from cad_edge_studies.peers.cad_edge_bundles import ProductLine
from cad_edge_studies.peers.environment import PeerEnvironment
from cad_edge_studies.peers.latency import KINDS, RUNTIMES
from cad_edge_studies.peers.workers import Turn, Worker, run_script, seconds_to_first_verdict

PRODUCTS = 10
KIND = "patchcore-1000"
"""The model of anomalib whose memory and start are measured."""
OURS = "cad-edge"

_PROBES = 3
_IMPORTS = 5
_STARTS = 3
_IMPORT = "import time; before = time.perf_counter(); {}; print(time.perf_counter() - before)"
_OUR_IMPORT = _IMPORT.format("import onnxruntime; from cad_edge_runtime import Detector")
_THEIR_IMPORT = _IMPORT.format("from anomalib.deploy import OpenVINOInferencer")
_FILES = {
    "torch": Path("weights", "torch"),
    "onnxruntime": Path("weights", "onnx"),
    "openvino": Path("weights", "openvino"),
    "openvino-int8": Path("int8", "weights", "openvino"),
}


@dataclass(frozen=True)
class Imports:
    """Median seconds of an import in a fresh interpreter, in turns."""

    cad_edge: float
    """onnxruntime and the detector, so that nothing is left to import."""
    anomalib: float
    """The inferencer; openvino itself comes with the first model."""


def memory_of_products(line: ProductLine, peers: PeerEnvironment, seed: int) -> dict[str, Memory]:
    """Memory of one process for ten products, after every one of them has been inspected.

    cad-edge: one detector, one bundle. anomalib: ten inferencers, ten models with a bank each, in
    one process as well, which is less than ten processes would take.
    """
    bundle = line.bundle_of(PRODUCTS)
    probes = probe_often(bundle, line.first_image(), line.threads, _PROBES)
    found = {OURS: sorted((one.memory for one in probes), key=lambda one: one.uss)[_PROBES // 2]}
    models = [line.place / "ten" / str(number) for number in range(PRODUCTS)]
    orders = [f"{KIND}:{seed + number}:{model}" for number, model in enumerate(models)]
    peers.run("anomalib_models", (line.frames, str(line.threads), *orders), line.place / "exports")
    for runtime in RUNTIMES:
        arguments: list[str | Path] = [runtime, line.frames, str(line.threads), *models]
        launch = peers.launch(f"ten-{runtime}", arguments, line.place / f"ten-{runtime}")
        with Worker(launch) as worker:
            for number in range(PRODUCTS):
                worker.ask(Turn((0,), (None,), number))
            found[runtime] = worker.memory()
    return found


def file_sizes(line: ProductLine, models: Path) -> dict[str, dict[str, int]]:
    """Bytes of what a device gets, by model; bundles hold all products, a model of anomalib one."""
    ours = {precision: folder_bytes(bundle) for precision, bundle in line.bundles.items()}
    theirs = {
        kind: {name: folder_bytes(models / kind / part) for name, part in _FILES.items()}
        for kind in KINDS
    }
    return {OURS: ours, **theirs}


def import_seconds(peers: PeerEnvironment, place: Path) -> Imports:
    """Import both sides in fresh interpreters, in turns."""
    found = in_turns(
        {
            OURS: lambda: float(run_script([sys.executable, "-c", _OUR_IMPORT], place, {})),
            "anomalib": lambda: float(peers.run_code(_THEIR_IMPORT, place)),
        },
        _IMPORTS,
    )
    return Imports(found[OURS], found["anomalib"])


def start_seconds(line: ProductLine, peers: PeerEnvironment, models: Path) -> dict[str, float]:
    """Seconds from the start of a process to its first verdict, in turns; medians.

    From the second start on, OpenVINO finds the compiled model in its cache.
    """
    first = Turn((0,), (None,))
    launches = {OURS: line.launch("fp32")}
    for runtime in RUNTIMES:
        arguments = (runtime, line.frames, str(line.threads), models / KIND)
        place = line.place / f"start-{runtime}"
        launches[runtime] = peers.launch(f"start-{runtime}", arguments, place)
    starts = {
        name: partial(seconds_to_first_verdict, launch, first) for name, launch in launches.items()
    }
    return in_turns(starts, _STARTS)


def in_turns(subjects: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Medians; one round goes before and does not count, it fills the caches of the system."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, measure in subjects.items():
            seconds = measure()
            if number:
                found[name].append(seconds)
    return {name: median(values) for name, values in found.items()}
