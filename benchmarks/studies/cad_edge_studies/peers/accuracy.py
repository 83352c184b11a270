"""Accuracy on equal terms: one trunk, one number of patches, the same images and metrics.

anomalib's PatchCore gets a model per category and is asked the category's own model (the oracle);
cad-edge has one bundle and has to recognise the product first. Test images are read after learning,
and both sides get them at the recipe's size.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cad_edge.data.image import decode_image, decode_mask
from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import Stream
from cad_edge_benchmarks.instruments.metrics import image_auroc, mean_defined
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_studies.learned_stream import evaluate_bundle
from cad_edge_studies.peers.cad_edge_bundles import ProductLine
from cad_edge_studies.peers.environment import PeerEnvironment
from cad_edge_studies.peers.workers import run_script

LARGER_BANK = 1000


@dataclass(frozen=True)
class Figures:
    """What one side reaches in one category; None where undefined."""

    image_auroc: float | None
    pixel_auroc: float | None
    aupro: float | None


@dataclass(frozen=True)
class Accuracy:
    """Both sides, by category."""

    bank: int
    """Patches that cad-edge keeps of a product; the bank of ``patchcore``."""
    cad_edge: Mapping[str, Figures]
    """Routed."""
    patchcore: Mapping[str, Figures]
    larger: Mapping[str, Figures]
    """PatchCore with a bank of `LARGER_BANK`."""


def centres_of(hyperparameters: Mapping[str, Any]) -> int:
    """Return how many patches a task keeps in all its memories."""
    return sum(int(memory["size"]) for memory in hyperparameters["memories"])


def measure_accuracy(line: ProductLine, peers: PeerEnvironment, seed: int) -> Accuracy:
    """Evaluate the fp32 bundle and PatchCore on every task of the line."""
    bank = centres_of(line.record.hyperparameters)
    ours = evaluate_bundle(line.bundles["fp32"], line.stream, line.threads)
    folder = line.place / "categories"
    _write_images(line, folder)
    _judge_by_patchcore(line, peers, folder, (bank, LARGER_BANK), seed)
    theirs = {size: _evaluate(line.stream, folder, size) for size in (bank, LARGER_BANK)}
    return Accuracy(
        bank=bank,
        cad_edge={
            name: Figures(task.image_auroc, task.pixel_auroc, task.aupro)
            for name, task in ours.items()
        },
        patchcore=theirs[bank],
        larger=theirs[LARGER_BANK],
    )


def mean_figures(tasks: Mapping[str, Figures]) -> Figures:
    """Mean over the categories in which a figure is defined."""
    return Figures(
        mean_defined([one.image_auroc for one in tasks.values()]),
        mean_defined([one.pixel_auroc for one in tasks.values()]),
        mean_defined([one.aupro for one in tasks.values()]),
    )


def _write_images(line: ProductLine, folder: Path) -> None:
    """Write every category's images at the recipe's size for the other environment."""
    recipe = line.record.recipe
    for task in line.stream.tasks:
        images = task.images()
        (folder / task.name).mkdir(parents=True, exist_ok=True)
        for name, paths in (
            ("train", list(images.train)),
            ("test", [item.path for item in images.test]),
        ):
            frames = np.stack([recipe.apply(decode_image(path)) for path in paths])
            np.save(folder / task.name / f"{name}.npy", frames)


def _judge_by_patchcore(
    line: ProductLine, peers: PeerEnvironment, folder: Path, banks: Sequence[int], seed: int
) -> None:
    """Have PatchCore write scores and maps below ``folder``."""
    reference = line.place / "reference.safetensors"
    module = "cad_edge_studies.peers.reference_features"
    command = [sys.executable, "-m", module, str(line.frames), str(reference)]
    weights = run_script(command, line.place, {}).strip()
    arguments: list[str | Path] = [weights, reference, folder, str(seed), str(line.threads)]
    arguments += [str(bank) for bank in banks]
    peers.run("anomalib_accuracy", arguments, line.place / "exports")


def _evaluate(stream: Stream, folder: Path, bank: int) -> dict[str, Figures]:
    """Measure the scores and maps of one bank."""
    found: dict[str, Figures] = {}
    for task in stream.tasks:
        tests = task.images().test
        scores = np.load(folder / task.name / f"scores-{bank}.npy", allow_pickle=False)
        maps = np.load(folder / task.name / f"maps-{bank}.npy", mmap_mode="r", allow_pickle=False)
        labels = np.array([item.anomalous for item in tests], dtype=np.bool_)
        pixels = localisation_of(tests, maps).measure()
        found[task.name] = Figures(image_auroc(labels, scores), pixels.auroc, pixels.aupro)
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
