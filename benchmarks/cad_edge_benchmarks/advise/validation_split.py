"""Test images that select a setting, and others that evaluate it: half of each, by the seed.

Choosing the best of many settings on some images makes it look better on them than it is. So the
figure that is reported comes from images that had no part in the choice.

A product without good and defective test images is learned from a folder of links that lacks some
of its good images; copies of these get synthetic anomalies.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cad_edge.data.image import decode_image
from cad_edge.data.product import GOOD, LabelledImage, ProductImages
from cad_edge.data.stream import Stream, StreamTask
from cad_edge.errors import DatasetError
from cad_edge.schema import TaskName
from cad_edge_benchmarks.instruments.image_folders import link_image, write_defective

FEWEST = 2
"""Good and defective test images that a product needs: one of each in either split."""

HELD_OUT = 1 / 3
"""Share of the good images that is held out where synthetic anomalies are needed."""
FEWEST_HELD_OUT = 4
COPIES = 3
"""Copies of a held-out image, one with each kind of anomaly that cad-edge can draw."""
SYNTHETIC = "synthetic"

SplitName = Literal["selection", "evaluation"]


@dataclass(frozen=True)
class SplitImage:
    """A labelled image, and the photograph that it comes from."""

    image: LabelledImage
    origin: str
    """Equal for a photograph and its copies with synthetic anomalies."""


@dataclass(frozen=True)
class ProductSplits:
    """One product: what it is learned from, and what judges it."""

    task: StreamTask
    """Its folder, or one of links without the good images that are held out."""
    learned: int
    """Good images that it is learned from."""
    selection: tuple[SplitImage, ...]
    evaluation: tuple[SplitImage, ...]
    synthetic: str | None
    """Why its anomalies are synthetic; None where they are real."""

    def split(self, name: SplitName) -> tuple[SplitImage, ...]:
        """Return the images of one split."""
        return self.selection if name == "selection" else self.evaluation


@dataclass(frozen=True)
class SplitStream:
    """All products."""

    stream: Stream
    """Learned from."""
    products: dict[TaskName, ProductSplits]


def split_stream(stream: Stream, place: Path, seed: int) -> SplitStream:
    """Split the test images of every product; synthetic ones are written into ``place``.

    Raises
    ------
    DatasetError
        A product cannot be read, or is too small to hold images out.
    """
    products = {
        task.name: _split(task, task.images(), place / task.name, seed) for task in stream.tasks
    }
    tasks = [one.task for one in products.values()]
    return SplitStream(stream.model_copy(update={"tasks": tasks}), products)


def _split(task: StreamTask, product: ProductImages, place: Path, seed: int) -> ProductSplits:
    own_seed = seed_of(seed, task.name)
    reason = _lacking(product.test)
    if reason is None:
        images = [SplitImage(item, str(item.path)) for item in product.test]
        source, learned = task, len(product.train)
    else:
        source, images = write_synthetic(task, product, place, own_seed)
        learned = len(product.train) - len({one.origin for one in images})
    return ProductSplits(source, learned, *deal(images, own_seed), reason)


def seed_of(seed: int, name: str) -> int:
    """Seed of one product, which does not depend on the products beside it."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def _lacking(tests: Sequence[LabelledImage]) -> str | None:
    """Say why test images cannot be split; None if they can."""
    good = sum(not item.anomalous for item in tests)
    defective = len(tests) - good
    if good >= FEWEST and defective >= FEWEST:
        return None
    if not tests:
        return "no test images"
    return f"{good} good and {defective} defective test images"


def deal(
    images: Sequence[SplitImage], seed: int
) -> tuple[tuple[SplitImage, ...], tuple[SplitImage, ...]]:
    """Deal images to two splits, good and defective apart and kind by kind; odd ones to the first.

    Images of one origin go to one split, so that neither knows the other's.
    """
    rng = np.random.default_rng(seed)
    good = {one.origin: None for one in images if not one.image.anomalous}
    by_kind: dict[str, list[str]] = {}
    for one in images:
        if one.origin not in good:
            by_kind.setdefault(one.image.label, []).append(one.origin)
    defective = [origin for kind in sorted(by_kind) for origin in _shuffled(by_kind[kind], rng)]
    first = {*_shuffled(list(good), rng)[::2], *defective[::2]}
    selected = tuple(one for one in images if one.origin in first)
    return selected, tuple(one for one in images if one.origin not in first)


def _shuffled(origins: list[str], rng: np.random.Generator) -> list[str]:
    return [origins[at] for at in rng.permutation(len(origins))]


def write_synthetic(
    task: StreamTask, product: ProductImages, place: Path, seed: int
) -> tuple[StreamTask, list[SplitImage]]:
    """Hold good images out and draw synthetic anomalies on copies of them.

    Parameters
    ----------
    task, product
        The product and its images; colour images alone are used.
    place
        Folder in the layout ``mvtec``; what is there is replaced.
    seed
        Of the images chosen and of the anomalies.

    Raises
    ------
    DatasetError
        There are too few images to learn from some and hold others out.
    ImageError
        An image cannot be read.
    """
    held_out = set(_held_out(task, len(product.train), seed))
    shutil.rmtree(place, ignore_errors=True)
    images: list[SplitImage] = []
    for number, (image, name) in enumerate(_named(product.train)):
        if number not in held_out:
            link_image(image, place / "train" / GOOD / name)
            continue
        copy = place / "test" / GOOD / name
        link_image(image, copy)
        images.append(SplitImage(LabelledImage(copy), name))
        images += [SplitImage(one, name) for one in _anomalous(copy, place, seed + number)]
    return StreamTask(name=task.name, path=place.absolute()), images


def _named(images: Sequence[Path]) -> list[tuple[Path, str]]:
    """Give each image a name of its own; those of two folders may have one."""
    known = Counter(image.name for image in images)
    return [
        (image, image.name if known[image.name] == 1 else f"{number:05d}-{image.name}")
        for number, image in enumerate(images)
    ]


def _held_out(task: StreamTask, images: int, seed: int) -> Sequence[int]:
    from cad_edge_training.folds import MINIMUM_IMAGES

    count = max(FEWEST_HELD_OUT, round(images * HELD_OUT))
    if images - count < MINIMUM_IMAGES:
        raise DatasetError(
            f"{task.path} has {images} images of good parts and no good and defective test images; "
            f"give at least {MINIMUM_IMAGES + FEWEST_HELD_OUT}, of which some are held out, or add "
            f"test/{GOOD} and test/<defect>"
        )
    order = np.random.default_rng(seed).permutation(images)
    return [int(number) for number in order[:count]]


def _anomalous(image: Path, place: Path, seed: int) -> list[LabelledImage]:
    """Write copies of one image with an anomaly each, and their masks."""
    from cad_edge_training.synthetic import synthetic_defects

    rgb = decode_image(image)
    damaged, masks = synthetic_defects(np.repeat(rgb[None], COPIES, axis=0), seed)
    return [
        write_defective(place, SYNTHETIC, f"{image.stem}-{n}", damaged[n], masks[n])
        for n in range(COPIES)
    ]
