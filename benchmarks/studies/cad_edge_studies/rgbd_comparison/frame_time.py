"""A frame with depth beside two bare passes of its backbone, and where its time goes."""

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cad_edge.data.depth import Plane
from cad_edge.data.image import Frame
from cad_edge.store.artifact import read_artifact
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Engine
from cad_edge_benchmarks.benchmark.backbone_graph import open_backbone
from cad_edge_benchmarks.instruments.interleaved_timing import (
    Latency,
    Ratio,
    latency_of,
    ratio_of,
    take_turns,
)
from cad_edge_runtime import Detector

_PROFILED = 20


@dataclass(frozen=True)
class FrameTime:
    """Frames of one bundle; times of one run in turns."""

    frame: Latency
    """Image and depth of the recipe's size."""
    routed: bool
    """Whether the product was recognised; it is given where no frame is, by random weights."""
    passes: Latency
    """The bare backbone, once for the image and once for what depth looks like."""
    ratio: Ratio
    verdict: str
    """Of the frame that was timed; a refused one would be cheaper than an inspected one."""
    operators_ms: dict[str, float]
    """Mean time of a frame by stage and kind of operator, while every operator is timed."""
    multiplications: int
    """Those within products of matrices (MatMul), of one frame."""


def measure_frame(
    bundle: Path, artifact: Path, store: Path, threads: int, rounds: int, backbone: str | None
) -> FrameTime:
    """Time a bundle's frames against its bare backbone.

    Parameters
    ----------
    bundle
        With depth.
    artifact
        Of one of its tasks: its witness images are shown.
    store
        Where the graph of the bare backbone may be written.
    threads, rounds
        Of every session; turns that count.
    backbone
        Where its weights are, if the artifact alone does not tell.
    """
    witness = read_artifact(artifact).witness
    shown = [
        (image.copy(), depth.copy())
        for image, depth in zip(witness["image"], witness["depth"], strict=True)
    ]
    engine = Bundle(bundle).manifest().tasks[artifact.name].engine
    passes = open_backbone(Bundle(bundle), engine, store, "cpu", threads)
    depth_name = str(passes.depth)
    with Detector.open(bundle, device="cpu", threads=threads, watch=False) as detector:
        known = [one for one in shown if detector.detect(one[0], depth=one[1]).task is not None]
        image, depth = (known or shown)[0]
        task = None if known else artifact.name
        verdict = detector.detect(image, task=task, depth=depth).verdict
        times = take_turns(
            {
                "frame": lambda: detector.detect(image, task=task, depth=depth),
                "passes": lambda: passes.run({passes.image: image[None], depth_name: depth[None]}),
            },
            rounds,
        )
    spent, multiplications = operators(Bundle(bundle), artifact.name, image, depth, threads)
    return FrameTime(
        frame=latency_of(times["frame"]),
        routed=task is None,
        passes=latency_of(times["passes"]),
        ratio=ratio_of(times["frame"], times["passes"]),
        verdict=verdict,
        operators_ms=spent,
        multiplications=multiplications,
    )


def operators(
    bundle: Bundle, task: str, image: Frame, depth: Plane, threads: int
) -> tuple[dict[str, float], int]:
    """Look into the graphs of a frame.

    Returns
    -------
    times, multiplications
        Mean milliseconds by ``stage kind``, largest first, and `multiplications` of all stages.
    """
    engine = bundle.manifest().tasks[task].engine
    values: dict[str, Any] = {"frame/image": image[None], "frame/depth": depth[None]}
    values |= {f"tensor/{name}": value for name, value in _tensors(bundle, engine).items()}
    spent: dict[str, float] = defaultdict(float)
    counted = 0
    for number, stage in enumerate(engine.stages):
        folder = bundle.verify_object(stage.graph)
        feed = {name: values[source] for name, source in stage.inputs.items()}
        outputs, events = _profiled(folder / "graph.onnx", feed, threads)
        values |= {f"{number}/{name}": value for name, value in outputs.items()}
        counted += multiplications(events)
        for kind, milliseconds in by_kind(events).items():
            spent[f"{number} {kind}"] += milliseconds
    return dict(sorted(spent.items(), key=lambda one: -one[1])), counted


def _tensors(bundle: Bundle, engine: Engine) -> Mapping[str, Any]:
    from safetensors.numpy import load

    found: dict[str, Any] = {}
    for name in engine.tensor_objects():
        found |= load(bundle.read_object(name)["tensors.safetensors"])
    return found


def _profiled(
    graph: Path, feed: Mapping[str, Any], threads: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return outputs of a graph, and what ONNX Runtime recorded of some runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        names = [one.name for one in session.get_outputs()]
        outputs = [session.run(names, feed) for _ in range(_PROFILED)][-1]
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return dict(zip(names, outputs, strict=True)), events


def by_kind(events: list[dict[str, Any]]) -> dict[str, float]:
    """Mean milliseconds over runs; the first fifth of the runs warm up and do not count."""
    kernels = [one for one in events if one["name"].endswith("_kernel_time")]
    runs = sorted(one["ts"] for one in events if one["name"] == "model_run")
    skipped = len(runs) // 5
    spent: dict[str, float] = defaultdict(float)
    for one in kernels:
        if one["ts"] >= runs[skipped]:
            spent[one["args"]["op_name"]] += one["dur"] / 1e3 / (len(runs) - skipped)
    return dict(spent)


def multiplications(events: list[dict[str, Any]]) -> int:
    """Count multiplications within products of matrices, of one run.

    A product (..., m, k) @ (k, n) takes k for every value that comes out.
    """
    runs = len([one for one in events if one["name"] == "model_run"])
    total: int = 0
    for one in events:
        if one["name"].endswith("_kernel_time") and one["args"]["op_name"] == "MatMul":
            (left,) = one["args"]["input_type_shape"][0].values()
            (out,) = one["args"]["output_type_shape"][0].values()
            total += left[-1] * math.prod(out)
    return total // runs
