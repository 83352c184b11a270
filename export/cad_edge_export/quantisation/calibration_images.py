"""Images of good parts that an eight-bit export measures ranges on, and judges itself by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cad_edge.data.image import ImageRecipe, decode_image
from cad_edge.data.products import read_products
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError, OptionError
from cad_edge.recognition import REJECTION_MARGIN
from cad_edge.routing import Discriminant, fit_discriminant, from_tensors
from cad_edge.store.artifact import LearnedTask
from cad_edge_training.backbones import Backbone
from cad_edge_training.routing_statistics import describe_images
from cad_edge_training.synthetic import synthetic_defects

Array = np.ndarray[Any, np.dtype[Any]]

FEWEST, MOST = 10, 50  # images per task that are looked at
EVIDENCE_EVERY = 3  # each third image is kept for the evidence, the others measure
DEFECTS_PER_IMAGE = 3  # of the evidence; a verdict near the threshold flips by chance
SEED = 0


@dataclass(frozen=True)
class CalibrationImages:
    """Images of one product, (n, height, width, 3) uint8 each."""

    normal: Array
    """Measure ranges and means."""
    defective: Array
    """The same with synthetic defects."""
    held_normal: Array
    """Never measured on; the evidence is taken from them."""
    held_defective: Array
    """(3 n, ...): each of them three times, with a synthetic defect of its own."""


def read_calibration(
    stream_file: Path, tasks: Sequence[LearnedTask], backbone: Backbone
) -> dict[str, CalibrationImages]:
    """Read images of good parts for every task from the folders of a stream file.

    Raises
    ------
    DatasetError
        The stream lacks a task, there are fewer than 10 images, or they show another product.
    OptionError
        A task looks at several views of a part.
    """
    for task in tasks:
        if task.artifact.views > 1:
            raise OptionError(
                f"{task.artifact.task} was learned with views: {task.artifact.views}, and eight "
                "bits are measured on single images; give --precision fp32 or fp16"
            )
    folders = {task.name: task for task in read_products(stream_file).tasks}
    selector = fit_discriminant({task.artifact.task: from_tensors(task.routing) for task in tasks})
    found = {}
    for task in tasks:
        name = task.artifact.task
        if name not in folders:
            raise DatasetError(
                f"{stream_file} has no task {name}, whose images the eight-bit export needs; add it"
            )
        images = _read(folders[name], task.artifact.recipe)
        _check_product(images, name, folders[name].path, selector, backbone)
        found[name] = _split(images)
    return found


def _read(task: StreamTask, recipe: ImageRecipe) -> Array:
    """Decode at most 50 images, evenly spread."""
    paths = task.images().train
    if len(paths) < FEWEST:
        raise DatasetError(
            f"{task.path} holds {len(paths)} images of good parts; an eight-bit export measures on "
            f"at least {FEWEST}"
        )
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(MOST, len(paths))).astype(np.int64))
    return np.stack([recipe.apply(decode_image(paths[index])) for index in chosen])


def _check_product(
    images: Array, name: str, folder: Path, selector: Discriminant, backbone: Backbone
) -> None:
    some = images[:: max(1, len(images) // FEWEST)]
    distances = selector.distances(describe_images(backbone, some))
    own = selector.tasks.index(name)
    farthest = REJECTION_MARGIN * selector.radii[own]
    near = (distances.argmin(axis=1) == own) & (distances[:, own] <= farthest)
    strange = int((~near).sum())
    if 2 * strange > len(some):
        raise DatasetError(
            f"{strange} of {len(some)} images in {folder} do not show the product that was "
            f"learned as {name}; give the images of good parts of {name}"
        )


def _split(images: Array) -> CalibrationImages:
    held = np.arange(len(images)) % EVIDENCE_EVERY == EVIDENCE_EVERY - 1
    normal, held_normal = images[~held], images[held]
    return CalibrationImages(
        normal,
        synthetic_defects(normal, SEED)[0],
        held_normal,
        np.concatenate(
            [
                synthetic_defects(held_normal, SEED + 1 + draw)[0]
                for draw in range(DEFECTS_PER_IMAGE)
            ]
        ),
    )
