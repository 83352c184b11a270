"""Time and memory of both sides: frames, imports and starts in turns, ten products, files."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

import click

from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_benchmarks.instruments.inspection_turns import Subject, inspect, take_turns_between
from cad_edge_benchmarks.instruments.interleaved_timing import in_rounds
from cad_edge_benchmarks.instruments.probe import probe_often
from cad_edge_benchmarks.instruments.subprocess_worker import Launch, Worker, run
from cad_edge_studies.peers.cad_edge_bundles import SEED, ProductLine
from cad_edge_studies.peers.environment import PeerEnvironment

KINDS = ("patchcore-1000", "patchcore-10000", "padim", "stfpm", "efficientad-s")
"""Models of anomalib, see `anomalib_models`."""
PRODUCTS = 10
KIND = "patchcore-1000"
"""The model of anomalib whose memory and start are measured."""
OURS = "cad-edge"

_PROBES = 3
_IMPORTS = 5
_STARTS = 3
_IMPORT = "import time; before = time.perf_counter(); {}; print(time.perf_counter() - before)"
# Of ours the detector and what it loads later; openvino itself comes with anomalib's first model.
_OUR_IMPORT = _IMPORT.format(
    "from cad_edge.onnxruntime_installation import load_onnxruntime; load_onnxruntime(); "
    "from cad_edge_runtime import Detector"
)
_THEIR_IMPORT = _IMPORT.format("from anomalib.deploy import OpenVINOInferencer")
_FILES = {
    "torch": Path("weights", "torch"),
    "onnxruntime": Path("weights", "onnx"),
    "openvino": Path("weights", "openvino"),
    "openvino-int8": Path("int8", "weights", "openvino"),
}


def measure_time_and_memory(
    line: ProductLine, peers: PeerEnvironment, rounds: int
) -> dict[str, object]:
    """Export anomalib's models and measure both sides; by name as in the result."""
    models = line.place / "models"
    click.echo("anomalib exports its models")
    orders = {models / kind: f"{kind}:{SEED}" for kind in KINDS}
    peers.export(line.frames, orders, line.place / "exports")
    click.echo("cad-edge and every model in turns; then imports, starts and ten products in memory")
    return {
        "latency": {kind: run_model(kind, line, peers, models, rounds) for kind in KINDS},
        "imports": import_seconds(peers, line.place),
        "start_seconds": start_seconds(line, peers, models),
        "memory_of_ten": memory_of_products(line, peers),
        "file_bytes": file_sizes(line, models),
    }


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
        theirs = peers.workers(kind, line.frames, [models / kind])
        for runtime, launch in theirs.items():
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


def memory_of_products(line: ProductLine, peers: PeerEnvironment) -> dict[str, dict[str, int]]:
    """Memory of one process for ten products, after every one of them has been inspected.

    cad-edge: one detector, one bundle. anomalib: ten inferencers, ten models with a bank each, in
    one process as well, which is less than ten processes would take.
    """
    bundle = line.bundle_of(PRODUCTS)
    probes = probe_often(bundle, line.first_image(), line.threads, _PROBES)
    found = {OURS: sorted((one.memory for one in probes), key=lambda one: one.uss)[_PROBES // 2]}
    models = [line.place / "ten" / str(number) for number in range(PRODUCTS)]
    orders = {model: f"{KIND}:{SEED + number}" for number, model in enumerate(models)}
    peers.export(line.frames, orders, line.place / "exports")
    for runtime, launch in peers.workers("ten", line.frames, models).items():
        with Worker(launch) as worker:
            for number in range(PRODUCTS):
                inspect(worker, (0,), model=number)
            found[runtime] = worker.memory()
    return {name: asdict(memory) for name, memory in found.items()}


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
    imports = {name: partial(run, launch) for name, launch in launches.items()}
    return medians(imports, _IMPORTS)


def start_seconds(line: ProductLine, peers: PeerEnvironment, models: Path) -> dict[str, float]:
    """Seconds from the start of a process to its first verdict, in turns; medians.

    From the second start on, OpenVINO finds the compiled model in its cache.
    """
    theirs = peers.workers("start", line.frames, [models / KIND])
    launches = {OURS: line.launch("fp32"), **theirs}
    starts = {name: partial(seconds_to_first_verdict, one) for name, one in launches.items()}
    return medians(starts, _STARTS)


def seconds_to_first_verdict(launch: Launch) -> float:
    """Start a worker, have it inspect one frame and end it; seconds from start to answer."""
    started = time.perf_counter()
    with Worker(launch) as worker:
        inspect(worker, (0,))
        return time.perf_counter() - started


def medians(subjects: Mapping[str, Callable[[], float | str]], rounds: int) -> dict[str, float]:
    """Medians of turns, whose numbers may come as text; one round before fills the caches."""
    found = in_rounds(subjects, rounds, warm_up=1, warm_up_seconds=0.0)
    return {name: median(map(float, values)) for name, values in found.items()}
