"""Test images that select a setting, and others that evaluate it: half of each, by the seed.

Choosing the best of many settings on some images makes it look better on them than it is. So the
figure that is reported comes from images that had no part in the choice.

A product without good and defective test images is learned from a folder of links that lacks some
of its good images; copies of these get synthetic anomalies.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cad_edge.data.grouping import GroupRule
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
        try:
            source, images = write_synthetic(task, product, place, own_seed)
        except DatasetError as problem:
            also = f"test/{GOOD} and test/<defect>, since there are {reason}"
            raise DatasetError(f"{problem}; or add {also}") from None
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


Draw = Callable[[Path, Path, Path, int], list[LabelledImage]]
"""From a good image, another one, the folder of the product and a seed to defective copies."""


def anomalous(image: Path, other: Path, place: Path, seed: int) -> list[LabelledImage]:
    """Write copies of one image with an anomaly each, and their masks."""
    from cad_edge_training.synthetic import synthetic_defects

    rgb = decode_image(image)
    damaged, masks = synthetic_defects(np.repeat(rgb[None], COPIES, axis=0), seed)
    return [
        write_defective(place, SYNTHETIC, f"{image.stem}-{n}", damaged[n], masks[n])
        for n in range(COPIES)
    ]


def write_synthetic(
    task: StreamTask, product: ProductImages, place: Path, seed: int, draw: Draw = anomalous
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
    draw
        Writes the anomalous copies of an image; the other one is held out as well.

    Raises
    ------
    DatasetError
        There are too few images to learn from some and hold others out, or their groups are not
        told.
    ImageError
        An image cannot be read.
    """
    groups = task.groups(product)
    named = _named(product.train)
    held_out = _held_out(task, len(named), groups, seed)
    shutil.rmtree(place, ignore_errors=True)
    images: list[SplitImage] = []
    for number, following in zip(held_out, [*held_out[1:], held_out[0]], strict=True):
        image, name = named[number]
        copy = place / "test" / GOOD / name
        link_image(image, copy)
        images.append(SplitImage(LabelledImage(copy), name))
        drawn = draw(copy, named[following][0], place, seed + number)
        images += [SplitImage(one, name) for one in drawn]
    learned = sorted({*range(len(named))} - {*held_out})
    own = None if groups is None else [groups[number] for number in learned]
    rule = _link_learned(place, [named[number] for number in learned], own)
    return StreamTask(name=task.name, path=place.absolute(), group=rule), images


def _link_learned(
    place: Path, images: Sequence[tuple[Path, str]], groups: Sequence[str] | None
) -> GroupRule | None:
    """Link what is learned from, each group in a folder of its own where several are left."""
    folder = place / "train" / GOOD
    names = sorted(set(groups or ()))
    for at, (image, name) in enumerate(images):
        own = f"group-{names.index(groups[at])}" if groups and len(names) > 1 else ""
        link_image(image, folder / own / name)
    return GroupRule(folder=True) if len(names) > 1 else None


def _named(images: Sequence[Path]) -> list[tuple[Path, str]]:
    """Give each image a name of its own; those of two folders may have one."""
    known = Counter(image.name for image in images)
    return [
        (image, image.name if known[image.name] == 1 else f"{number:05d}-{image.name}")
        for number, image in enumerate(images)
    ]


def _held_out(task: StreamTask, images: int, groups: Sequence[str] | None, seed: int) -> list[int]:
    """Numbers of the images that are held out, ascending; groups are held out whole."""
    from cad_edge_training.folds import MINIMUM_IMAGES
    from cad_edge_training.whole_groups import WholeGroups

    count, rng = max(FEWEST_HELD_OUT, round(images * HELD_OUT)), np.random.default_rng(seed)
    if groups is None:
        held = rng.permutation(images)[:count]
    else:
        whole = WholeGroups.of(groups, images)
        held = np.flatnonzero(np.isin(whole.members, whole.hold_out(count, FEWEST_HELD_OUT, rng)))
    if images - len(held) < MINIMUM_IMAGES:
        raise DatasetError(
            f"{task.path} has {images} images of good parts, too few to learn from some and to "
            f"judge by others; give at least {MINIMUM_IMAGES + FEWEST_HELD_OUT}"
        )
    return sorted(int(number) for number in held)
