"""What the peer does better, found in the figures and not chosen."""

from collections.abc import Iterator, Mapping
from typing import Any

from cad_edge_studies.peers.footprint import KIND, OURS
from cad_edge_studies.peers.targets import ROUTED, Result, typical

_FIGURES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}
_MEGABYTE = 1e6


def peer_strengths(result: Result) -> list[str]:
    """One sentence for everything in which anomalib is ahead of routed cad-edge in fp32."""
    return [*_accuracy(result["accuracy"]), *_latency(result), *_footprint(result)]


def _accuracy(accuracy: Mapping[str, Any]) -> Iterator[str]:
    """Means first, then categories, of either bank."""
    banks = {"patchcore": accuracy["bank"], "larger": accuracy["larger_bank"]}
    for side, bank in banks.items():
        for figure, words in _FIGURES.items():
            theirs, ours = accuracy["mean"][side][figure], accuracy["mean"]["cad_edge"][figure]
            if _ahead(theirs, ours):
                yield f"Mean {words}, PatchCore with {bank} patches: {theirs:.4f} to {ours:.4f}."
    for side, bank in banks.items():
        for figure, words in _FIGURES.items():
            names = [
                f"{name} ({task[figure]:.3f} to {accuracy['cad_edge'][name][figure]:.3f})"
                for name, task in accuracy[side].items()
                if _ahead(task[figure], accuracy["cad_edge"][name][figure])
            ]
            if names:
                yield f"{words}, PatchCore with {bank} patches, in {', '.join(names)}."


def _ahead(theirs: float | None, ours: float | None) -> bool:
    return theirs is not None and ours is not None and theirs > ours


def _latency(result: Result) -> Iterator[str]:
    for kind, rows in result["latency"].items():
        ours = {frame: typical(rows[ROUTED], frame) for frame in ("following", "rested")}
        for name, row in rows.items():
            for frame, words in (("following", "a busy line"), ("rested", "after a rest")):
                theirs = typical(row, frame)
                if not name.startswith(OURS) and theirs < ours[frame]:
                    yield (
                        f"Latency of {kind} by {name}, {words}: "
                        f"{theirs:.2f} ms to {ours[frame]:.2f} ms."
                    )


def _footprint(result: Result) -> Iterator[str]:
    memory = result["memory_of_ten"]
    for name, one in memory.items():
        if one["uss"] < memory[OURS]["uss"]:
            yield f"Memory of ten products by {name}: {one['uss'] / _MEGABYTE:.0f} MB."
    starts = result["start_seconds"]
    for name, seconds in starts.items():
        if seconds < starts[OURS]:
            yield f"Start to first verdict by {name}: {seconds:.2f} s to {starts[OURS]:.2f} s."
    sizes, products = result["file_bytes"], result["products"]
    ours = sizes[OURS]["fp32"]
    for name, size in sizes[KIND].items():
        if size < ours:
            yield (
                f"File for one product by {name}: {size / _MEGABYTE:.1f} MB; "
                f"a bundle of {products} products has {ours / _MEGABYTE:.1f} MB."
            )


WITHOUT_FIGURES = (
    "More than twenty other methods, some of which reach more with larger networks; one trunk and "
    "one method of anomalib are compared in accuracy here.",
    "Training and inference on GPUs, which cad-edge has never been run on.",
)
"""What no row of the comparison shows."""
