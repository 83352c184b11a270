"""What has to be reached beside anomalib, read from a result of `make result-peers`."""

from collections.abc import Mapping
from typing import Any

from cad_edge_benchmarks.reporting.targets import Target
from cad_edge_studies.peers.footprint import KIND, OURS
from cad_edge_studies.peers.latency import RUNTIMES, name_of

Result = Mapping[str, Any]
Rows = Mapping[str, Any]

INFERENCERS = ("torch", "openvino", "openvino-f32", "openvino-int8")
"""Anomalib's own; its ONNX in ONNX Runtime is run without it."""
ROUTED = name_of("fp32", routed=True)


def typical(row: Mapping[str, Any], frame: str = "following") -> float:
    """Median milliseconds of a row; ``frame`` is ``following`` or ``rested``."""
    return float(row[frame]["p50"])


def best_routed(rows: Rows) -> str:
    """Name of cad-edge's fastest routed row, over all precisions."""
    names = [name for name in rows if name.startswith("cad-edge") and name.endswith("routed")]
    return min(names, key=lambda name: typical(rows[name]))


def peer_targets(result: Result) -> list[Target]:
    """Every row that is judged; ratios are of medians of one run."""
    rows = result["latency"][KIND]
    best, fastest = best_routed(rows), min(RUNTIMES, key=lambda name: typical(rows[name]))
    targets = [
        _faster("PatchCore, ONNX Runtime, against routed fp32", 3.0, rows, "onnxruntime", ROUTED),
        _faster("PatchCore, OpenVINO f32, against routed fp32", 2.5, rows, "openvino-f32", ROUTED),
        _faster(f"PatchCore's fastest ({fastest}) against {best}", 1.5, rows, fastest, best),
    ]
    return [*targets, _accuracy(result), _memory(result), _imports(result)]


def _faster(what: str, limit: float, rows: Rows, theirs: str, ours: str) -> Target:
    return Target(what, "at least", limit, typical(rows[theirs]) / typical(rows[ours]), "times")


def _accuracy(result: Result) -> Target:
    """Routed cad-edge against PatchCore with as many patches, each category by its own model."""
    means = result["accuracy"]["mean"]
    limit = means["patchcore"]["image_auroc"]
    what = f"mean image AUROC, routed; PatchCore with {result['accuracy']['bank']} patches"
    return Target(what, "at least", round(limit, 4), round(means["cad_edge"]["image_auroc"], 4))


def _memory(result: Result) -> Target:
    """One process of ours against the leanest of anomalib's inferencers."""
    memory = result["memory_of_ten"]
    least = min(INFERENCERS, key=lambda name: memory[name]["uss"])
    ratio = memory[OURS]["uss"] / memory[least]["uss"]
    return Target(f"unique memory, ten products; ten inferencers ({least})", "at most", 0.2, ratio)


def _imports(result: Result) -> Target:
    imports = result["imports"]
    ratio = imports["cad_edge"] / imports["anomalib"]
    return Target("seconds to import, runtime to inferencer", "at most", 0.1, ratio)
