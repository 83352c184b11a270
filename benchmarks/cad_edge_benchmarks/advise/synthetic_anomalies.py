"""Synthetic defects on held-out good images, for products without test images that can be used.

The product is then learned from a folder of links that lacks the images held out.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cad_edge.data.image import decode_image
from cad_edge.data.product import GOOD, LabelledImage, ProductImages
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError
from cad_edge.heatmap import write_png
from cad_edge_benchmarks.instruments.image_links import link_image

HELD_OUT = 1 / 3
"""Share of the good images that is held out."""
FEWEST_HELD_OUT = 4
COPIES = 3
"""Copies of a held-out image with a defect, one of each kind that cad-edge can draw."""
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Part:
    """A labelled image, and the photograph that it comes from."""

    image: LabelledImage
    origin: str
    """Equal for a photograph and its copies with synthetic defects."""


def write_stand_in(
    task: StreamTask, product: ProductImages, place: Path, seed: int
) -> tuple[StreamTask, list[Part]]:
    """Hold good images out and draw defects on copies of them.

    Parameters
    ----------
    task, product
        The product and its images; colour images alone are used.
    place
        Folder in the layout ``mvtec``; what is there is replaced.
    seed
        Of the images chosen and of the defects.

    Raises
    ------
    DatasetError
        There are too few images to learn from some and hold others out.
    ImageError
        An image cannot be read.
    """
    held = set(_held_out(task, len(product.train), seed))
    shutil.rmtree(place, ignore_errors=True)
    parts: list[Part] = []
    for number, (image, name) in enumerate(_named(product.train)):
        if number not in held:
            link_image(image, place / "train" / GOOD / name)
            continue
        copy = place / "test" / GOOD / name
        link_image(image, copy)
        parts.append(Part(LabelledImage(copy), name))
        parts += [Part(one, name) for one in _spoiled(copy, place, seed + number)]
    return StreamTask(name=task.name, path=place.absolute()), parts


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


def _spoiled(image: Path, place: Path, seed: int) -> list[LabelledImage]:
    """Write copies of one image with a defect each, and their masks."""
    from cad_edge_training.synthetic import synthetic_defects

    rgb = decode_image(image)
    damaged, masks = synthetic_defects(np.repeat(rgb[None], COPIES, axis=0), seed)
    found = []
    for number in range(COPIES):
        name = f"{image.stem}-{number}"
        copy = place / "test" / SYNTHETIC / f"{name}.png"
        mask = place / "ground_truth" / SYNTHETIC / f"{name}_mask.png"
        drawn = np.repeat(masks[number][..., None], 3, axis=2).astype(np.uint8) * 255
        for path, pixels in ((copy, damaged[number]), (mask, drawn)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, pixels)
        found.append(LabelledImage(copy, SYNTHETIC, mask))
    return found
