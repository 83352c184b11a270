"""Memory of ten products, sizes of files, seconds of an import and of a start."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median

from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_benchmarks.instruments.inspection_turns import inspect
from cad_edge_benchmarks.instruments.interleaved_timing import in_rounds
from cad_edge_benchmarks.instruments.memory import Memory
from cad_edge_benchmarks.instruments.probe import probe_often
from cad_edge_benchmarks.instruments.subprocess_worker import Launch, Worker, run
from cad_edge_studies.peers.anomalib_worker import RUNTIMES
from cad_edge_studies.peers.cad_edge_bundles import ProductLine
from cad_edge_studies.peers.environment import PeerEnvironment
from cad_edge_studies.peers.latency import KINDS

PRODUCTS = 10
KIND = "patchcore-1000"
"""The model of anomalib whose memory and start are measured."""
OURS = "cad-edge"

_PROBES = 3
_IMPORTS = 5
_STARTS = 3
_IMPORT = "import time; before = time.perf_counter(); {}; print(time.perf_counter() - before)"
# Of ours the detector and what it loads later; openvino itself comes with anomalib's first model.
_OUR_IMPORT = _IMPORT.format("import onnxruntime; from cad_edge_runtime import Detector")
_THEIR_IMPORT = _IMPORT.format("from anomalib.deploy import OpenVINOInferencer")
_FILES = {
    "torch": Path("weights", "torch"),
    "onnxruntime": Path("weights", "onnx"),
    "openvino": Path("weights", "openvino"),
    "openvino-int8": Path("int8", "weights", "openvino"),
}


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
    peers.export(line.frames, orders, line.place / "exports")
    for runtime in RUNTIMES:
        launch = peers.worker(runtime, line.frames, models, line.place / f"ten-{runtime}")
        with Worker(launch) as worker:
            for number in range(PRODUCTS):
                inspect(worker, (0,), model=number)
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


def import_seconds(peers: PeerEnvironment, place: Path) -> dict[str, float]:
    """Import both sides in fresh interpreters, in turns; median seconds."""
    launches = {
        "cad_edge": Launch("importing cad-edge", ("-c", _OUR_IMPORT), place),
        "anomalib": peers.launch("importing anomalib", place, "-c", _THEIR_IMPORT),
    }
    imports = {name: partial(_printed_seconds, launch) for name, launch in launches.items()}
    return medians(imports, _IMPORTS)


def _printed_seconds(launch: Launch) -> float:
    return float(run(launch))


def start_seconds(line: ProductLine, peers: PeerEnvironment, models: Path) -> dict[str, float]:
    """Seconds from the start of a process to its first verdict, in turns; medians.

    From the second start on, OpenVINO finds the compiled model in its cache.
    """
    launches = {OURS: line.launch("fp32")}
    for runtime in RUNTIMES:
        place = line.place / f"start-{runtime}"
        launches[runtime] = peers.worker(runtime, line.frames, [models / KIND], place)
    starts = {name: partial(seconds_to_first_verdict, one) for name, one in launches.items()}
    return medians(starts, _STARTS)


def seconds_to_first_verdict(launch: Launch) -> float:
    """Start a worker, have it inspect one frame and end it; seconds from start to answer."""
    started = time.perf_counter()
    with Worker(launch) as worker:
        inspect(worker, (0,))
        return time.perf_counter() - started


def medians(subjects: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Medians of turns; one round before them fills the caches of the system."""
    found = in_rounds(subjects, rounds, warm_up=1, warm_up_seconds=0.0)
    return {name: median(values) for name, values in found.items()}
