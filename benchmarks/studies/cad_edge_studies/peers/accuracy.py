"""Accuracy on equal terms: one trunk, one number of patches, the same images and metrics.

anomalib's PatchCore gets a model per category and is asked the category's own model (the oracle);
cad-edge has one bundle and has to recognise the product first. Test images are read after learning,
and both sides get them at the recipe's size.

    python -m cad_edge_studies.peers.accuracy FRAMES TARGET

writes, in a process of its own with torch, what `anomalib_accuracy` checks its trunk by.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cad_edge.data.image import ImageRecipe, decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import Stream
from cad_edge_benchmarks.instruments.metrics import image_auroc, mean_defined
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_benchmarks.instruments.subprocess_worker import run, run_python
from cad_edge_benchmarks.reporting.headings import SCORE_COLUMNS
from cad_edge_studies.learned_stream import evaluate_bundle
from cad_edge_studies.peers.cad_edge_bundles import SEED, ProductLine
from cad_edge_studies.peers.environment import PeerEnvironment

LARGER_BANK = 1000
FIGURES = {name: SCORE_COLUMNS[name] for name in ("image_auroc", "pixel_auroc", "aupro")}
"""What is compared, with its heading."""
BLOCKS = {"blocks.2": 4, "blocks.4": 10}
"""Our block that ends each of timm's stages."""

Figures = Mapping[str, float | None]
"""Those of `FIGURES` in one category; None where undefined."""


def bank_of(hyperparameters: Mapping[str, Any]) -> int:
    """Return how many patches a task keeps in all its memory banks."""
    return sum(int(memory["size"]) for memory in hyperparameters["memories"])


def measure_accuracy(line: ProductLine, peers: PeerEnvironment) -> dict[str, object]:
    """Evaluate the fp32 bundle and PatchCore on every task of the line.

    Returns
    -------
    Figures by category of ``cad_edge`` (routed), of ``patchcore`` with as many patches as cad-edge
    keeps of a product (``bank``), and of ``larger``, PatchCore with ``larger_bank``; their ``mean``
    by side.
    """
    bank = bank_of(line.record.hyperparameters)
    ours = evaluate_bundle(line.bundles["fp32"], line.stream, line.threads)
    folder = line.place / "categories"
    _write_images(line.stream, line.record.recipe, folder)
    # PatchCore writes scores and maps there; its trunk is ours.
    reference = line.place / "reference.safetensors"
    module = "cad_edge_studies.peers.accuracy"
    weights = run_python("our trunk", "-m", module, line.frames, reference).strip()
    what = (weights, reference, folder, SEED, line.threads, bank, LARGER_BANK)
    run(peers.module("anomalib_accuracy", line.place / "exports", *what))
    sides: dict[str, dict[str, Figures]] = {
        "cad_edge": {
            name: {figure: vars(task)[figure] for figure in FIGURES} for name, task in ours.items()
        },
        "patchcore": _evaluate(line.stream, folder, bank),
        "larger": _evaluate(line.stream, folder, LARGER_BANK),
    }
    mean = {side: mean_figures(tasks) for side, tasks in sides.items()}
    return {"bank": bank, **sides, "larger_bank": LARGER_BANK, "mean": mean}


def mean_figures(tasks: Mapping[str, Figures]) -> Figures:
    """Mean over the categories in which a figure is defined."""
    return {name: mean_defined([one[name] for one in tasks.values()]) for name in FIGURES}


def _write_images(stream: Stream, recipe: ImageRecipe, folder: Path) -> None:
    """Write every category's images at the recipe's size for the other environment."""
    for task in stream.tasks:
        images = task.images()
        (folder / task.name).mkdir(parents=True, exist_ok=True)
        for name, paths in ("train", images.train), ("test", [one.path for one in images.test]):
            frames = np.stack([recipe.apply(decode_image(path)) for path in paths])
            np.save(folder / task.name / f"{name}.npy", frames)


def _evaluate(stream: Stream, folder: Path, bank: int) -> dict[str, Figures]:
    """Measure the scores and maps of one bank."""
    found: dict[str, Figures] = {}
    for task in stream.tasks:
        tests = task.images().test
        scores = np.load(folder / task.name / f"scores-{bank}.npy", allow_pickle=False)
        maps = np.load(folder / task.name / f"maps-{bank}.npy", mmap_mode="r", allow_pickle=False)
        labels = np.array([item.anomalous for item in tests], dtype=np.bool_)
        pixels = localisation_of(tests, maps).measure()
        measured = (image_auroc(labels, scores), pixels.auroc, pixels.aupro)
        found[task.name] = dict(zip(FIGURES, measured, strict=True))
    return found


def localisation_of(tests: Sequence[LabelledImage], maps: npt.NDArray[np.float32]) -> PixelScores:
    """Pixels of maps (n, height, width) at their masks' sizes, by the rules of `evaluation`."""
    pixels = PixelScores()
    if not any(item.mask is not None for item in tests):
        return pixels
    for item, anomaly_map in zip(tests, maps, strict=True):
        if item.anomalous and item.mask is None:
            continue
        height, width = decode_image(item.path).shape[:2]
        image = Image.fromarray(np.array(anomaly_map, dtype=np.float32))
        full = np.array(image.resize((width, height), resample=Image.Resampling.BILINEAR))
        pixels.add(full, None if item.mask is None else decode_mask(item.mask, (height, width)))
    return pixels


def write_reference(frames: str, target: str) -> None:
    """Write features of our trunk for one frame, and print the path of its weights.

    ``target`` (.safetensors) gets ``image`` (1, height, width, 3) uint8, the first of ``frames``,
    and the outputs (1, channels, rows, columns) float32 of `BLOCKS` under timm's names.
    """
    import torch
    from safetensors.numpy import save_file

    from cad_edge_training.backbones.efficientnet_lite0 import load, weights_path

    image = np.load(frames, mmap_mode="r", allow_pickle=False)[:1].copy()
    trunk = load(image.shape[1])
    with torch.inference_mode():
        states = trunk.run(trunk.normalise(torch.from_numpy(image)), max(BLOCKS.values()))
    # safetensors writes the bytes as they lie, and torch may keep the channels last.
    features = {name: np.ascontiguousarray(states[block]) for name, block in BLOCKS.items()}
    save_file({"image": image} | features, target)
    sys.stdout.write(f"{weights_path()}\n")


if __name__ == "__main__":
    write_reference(*sys.argv[1:])
