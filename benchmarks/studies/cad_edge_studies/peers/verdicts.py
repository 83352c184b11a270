"""What has to be reached beside anomalib, and what it does better, read from a result."""

from collections.abc import Iterator, Mapping
from typing import Any

from cad_edge_benchmarks.reporting.targets import Target
from cad_edge_studies.peers.accuracy import FIGURES
from cad_edge_studies.peers.anomalib_worker import RUNTIMES
from cad_edge_studies.peers.time_and_memory import KIND, OURS, name_of

Result = Mapping[str, Any]

INFERENCERS = ("torch", "openvino", "openvino-f32", "openvino-int8")
"""Anomalib's own; its ONNX in ONNX Runtime is run without it."""
ROUTED = name_of("fp32", routed=True)
MEGABYTE = 1e6
FRAMES = {"following": "a busy line", "rested": "after a rest"}
"""Frames of a turn, in words."""
WITHOUT_FIGURES = (
    "More than twenty other methods, some of which reach more with larger networks; one trunk and "
    "one method of anomalib are compared in accuracy here.",
    "Training and inference on GPUs, which cad-edge has never been run on.",
)
"""What anomalib does better and no row of the comparison shows."""


def typical(row: Mapping[str, Any], frame: str = "following") -> float:
    """Median milliseconds of a row; ``frame`` is one of `FRAMES`."""
    return float(row[frame]["p50"])


def best_routed(rows: Mapping[str, Any]) -> str:
    """Name of cad-edge's fastest routed row, over all precisions."""
    names = [name for name in rows if name.startswith(OURS) and name.endswith("routed")]
    return min(names, key=lambda name: typical(rows[name]))


def peer_targets(result: Result) -> list[Target]:
    """Every row that is judged; ratios are of medians of one run."""
    rows, memory, imports = result["latency"][KIND], result["memory_of_ten"], result["imports"]
    best, fastest = best_routed(rows), min(RUNTIMES, key=lambda name: typical(rows[name]))
    # Routed, against PatchCore with as many patches and each category by its own model.
    accuracy, mean = result["accuracy"], result["accuracy"]["mean"]
    reached, limit = (round(mean[one]["image_auroc"], 4) for one in ("cad_edge", "patchcore"))
    bank = f"mean image AUROC, routed; PatchCore with {accuracy['bank']} patches"
    # One process of ours against the leanest of anomalib's inferencers.
    least = min(INFERENCERS, key=lambda name: memory[name]["uss"])
    unique = f"unique memory, ten products; ten inferencers ({least})"
    imported = "seconds to import, runtime to inferencer"
    pairs = (
        ("PatchCore, ONNX Runtime, against routed fp32", 3.0, "onnxruntime", ROUTED),
        ("PatchCore, OpenVINO f32, against routed fp32", 2.5, "openvino-f32", ROUTED),
        (f"PatchCore's fastest ({fastest}) against {best}", 1.5, fastest, best),
    )
    return [
        *(
            Target(what, "at least", times, typical(rows[theirs]) / typical(rows[ours]), "times")
            for what, times, theirs, ours in pairs
        ),
        Target(bank, "at least", limit, reached),
        Target(unique, "at most", 0.2, memory[OURS]["uss"] / memory[least]["uss"]),
        Target(imported, "at most", 0.1, imports["cad_edge"] / imports["anomalib"]),
    ]


def peer_strengths(result: Result) -> list[str]:
    """One sentence for everything in which anomalib is ahead of routed cad-edge in fp32."""
    return [*_accuracy(result["accuracy"]), *_latency(result), *_footprint(result)]


def _accuracy(accuracy: Mapping[str, Any]) -> Iterator[str]:
    """Means first, then categories, of either bank."""
    banks = {"patchcore": accuracy["bank"], "larger": accuracy["larger_bank"]}
    rows = [(side, bank, key) for side, bank in banks.items() for key in FIGURES]
    for side, bank, key in rows:
        theirs, ours = (accuracy["mean"][name][key] for name in (side, "cad_edge"))
        if _ahead(theirs, ours):
            yield f"Mean {FIGURES[key]}, PatchCore with {bank} patches: {theirs:.4f} to {ours:.4f}."
    for side, bank, key in rows:
        pairs = {
            name: (task[key], accuracy["cad_edge"][name][key])
            for name, task in accuracy[side].items()
        }
        names = [
            f"{name} ({theirs:.3f} to {ours:.3f})"
            for name, (theirs, ours) in pairs.items()
            if _ahead(theirs, ours)
        ]
        if names:
            yield f"{FIGURES[key]}, PatchCore with {bank} patches, in {', '.join(names)}."


def _ahead(theirs: float | None, ours: float | None) -> bool:
    return theirs is not None and ours is not None and theirs > ours


def _latency(result: Result) -> Iterator[str]:
    for kind, rows in result["latency"].items():
        for name in RUNTIMES:
            for frame, words in FRAMES.items():
                theirs, ours = typical(rows[name], frame), typical(rows[ROUTED], frame)
                if theirs < ours:
                    yield f"Latency of {kind} by {name}, {words}: {theirs:.2f} ms to {ours:.2f} ms."


def _footprint(result: Result) -> Iterator[str]:
    memory, starts = result["memory_of_ten"], result["start_seconds"]
    for name, one in memory.items():
        if one["uss"] < memory[OURS]["uss"]:
            yield f"Memory of ten products by {name}: {one['uss'] / MEGABYTE:.0f} MB."
    for name, seconds in starts.items():
        if seconds < starts[OURS]:
            yield f"Start to first verdict by {name}: {seconds:.2f} s to {starts[OURS]:.2f} s."
    ours = result["file_bytes"][OURS]["fp32"]
    bundle = f"a bundle of {result['products']} products has {ours / MEGABYTE:.1f} MB"
    for name, size in result["file_bytes"][KIND].items():
        if size < ours:
            yield f"File for one product by {name}: {size / MEGABYTE:.1f} MB; {bundle}."
