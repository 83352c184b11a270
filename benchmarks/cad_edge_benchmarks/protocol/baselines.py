"""Baselines that have one model for everything, learned by the same method on pooled images.

``joint`` pools all training images of all tasks so far: what one bank can do that never has to
forget. ``naive`` has the newest step's images only: what overwriting forgets. ``replay`` has those
and stored images of older tasks, as many as fit into the bytes that cad-edge keeps for the tasks.
Labelled images keep their labels.

None of them knows products, so nothing is routed: one model, one threshold, every frame. Nothing of
a step's model remains in a later one, so a step that is not measured need not be learned.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from cad_edge.data.image import ImageRecipe, decode_image
from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.protocol.learners import Recipe, StepMeasurement, learn_tasks, measure
from cad_edge_benchmarks.protocol.study import BaselineName, PoolName
from cad_edge_benchmarks.protocol.task_sequence import Step

LabelledFile: TypeAlias = tuple[Path, bool]
"""An image and whether it is labelled defective."""


@dataclass(frozen=True)
class Pool:
    """Images that one model learns from."""

    images: list[LabelledFile]
    stored_bytes: int
    """Of those that had to be stored for it."""


Pooling: TypeAlias = Callable[[list[Step], Path], Pool]
"""Pools images after some steps; the folder is for those that are stored in another form."""


class OneModel:
    """A learner with one model, learned anew for every step that is measured.

    Parameters
    ----------
    recipe
        How to learn.
    learned
        Folder of artifacts, one per step, and of lists of the images they were learned from.
    measured
        Folder of the bundle, in which the model of every step is a task, always given.
    pooling
        What the model of a step learns from.
    """

    def __init__(self, recipe: Recipe, learned: Path, measured: Path, pooling: Pooling) -> None:
        self._recipe = recipe
        self._learned = learned
        self._bundle = measured / "bundle"
        self._pooling = pooling
        self._steps: list[Step] = []

    def learn(self, step: Step) -> None:
        """Take note of ``step``."""
        self._steps.append(step)

    def evaluate(self) -> StepMeasurement:
        """Learn the one model and judge all tasks so far with it."""
        name = f"step-{len(self._steps):02d}"
        stored = self._learn_now(name)
        measured = measure(
            [self._learned / name],
            self._bundle,
            self._recipe,
            [task for step in self._steps for task in step],
            lambda _: name,
            routed=False,
        )
        return measured.model_copy(update={"kept_bytes": measured.kept_bytes + stored})

    def _learn_now(self, name: str) -> int:
        """Learn the pooled images as a task ``name``; return the bytes stored for them."""
        folder = self._learned / f".images-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pool = self._pooling(self._steps, folder)
        (folder / "train.json").write_text(json.dumps(instructions(pool.images)), encoding="utf-8")
        task = StreamTask(name=name, path=folder, layout="instruction")
        learn_tasks(self._recipe, [task], self._learned)
        return pool.stored_bytes


def instructions(images: Sequence[LabelledFile]) -> list[dict[str, object]]:
    """Lay out labelled images as the layout ``instruction`` has them."""
    return [
        {
            "image": str(path.absolute()),
            "conversations": [{"value": ""}, {"value": "Yes" if bad else "No"}],
        }
        for path, bad in images
    ]


def pool_all(steps: list[Step], folder: Path) -> Pool:
    """Pool all training images of all steps; those of older ones had to be stored, as they are."""
    older = _images(steps[:-1])
    stored = sum(image.stat().st_size for image, _ in older)
    return Pool([*older, *_images(steps[-1:])], stored)


def pool_newest(steps: list[Step], folder: Path) -> Pool:
    """Pool the training images of the newest step; nothing had to be stored."""
    return Pool(_images(steps[-1:]), 0)


def pool_replay(
    budgets: Mapping[str, int], recipe: ImageRecipe, seed: int, steps: list[Step], folder: Path
) -> Pool:
    """Pool the newest step's images and stored ones of older tasks.

    Of each older task, images in an order drawn by ``seed`` are stored as PNG at the network's
    size, one after the other as long as they fit into ``budgets`` (bytes by task).
    """
    stored = [
        image
        for step in steps[:-1]
        for task in step
        for image in _store(task, budgets[task.name], recipe, seed, folder)
    ]
    return Pool([*_images(steps[-1:]), *stored], sum(path.stat().st_size for path, _ in stored))


def _store(
    task: StreamTask, budget: int, recipe: ImageRecipe, seed: int, folder: Path
) -> list[LabelledFile]:
    """Store images of one task in at most ``budget`` bytes."""
    images, found = _images([(task,)]), []
    for place in np.random.default_rng(seed).permutation(len(images)):
        source, defective = images[place]
        stored = folder / f"{task.name}.{place:05d}.png"
        Image.fromarray(recipe.apply(decode_image(source))).save(stored, optimize=True)
        budget -= stored.stat().st_size
        if budget < 0:
            stored.unlink()
            break
        found.append((stored, defective))
    return found


def _images(steps: Sequence[Step]) -> list[LabelledFile]:
    """Training images of all tasks of steps."""
    products = [task.images() for step in steps for task in step]
    return [
        image
        for product in products
        for image in (
            *((path, False) for path in product.train),
            *((item.path, True) for item in product.defective),
        )
    ]


BASELINES: Mapping[BaselineName, str] = {
    "joint": "one bank of all training images of all tasks so far",
    "naive": "one model, overwritten by each step",
    "replay": "one model of the newest step and stored images, in the bytes that cad-edge keeps",
    "separate": "one model of each task, learned as if there were no other",
}
"""All baselines by name, with what they are."""


@dataclass(frozen=True)
class Reference:
    """What ``replay`` takes from cad-edge after the same stream."""

    budgets: Mapping[str, int]
    """Bytes that cad-edge keeps, by task."""
    recipe: ImageRecipe
    """Size at which images are learned."""


def pooling_of(name: PoolName, seed: int, reference: Reference | None) -> Pooling:
    """Return what a baseline of `BASELINES` learns from; ``reference`` is that of ``replay``."""
    if name == "joint":
        return pool_all
    if name == "naive":
        return pool_newest
    if reference is None:
        raise ValueError("replay stores as many bytes as another learner keeps, and there is none")
    return partial(pool_replay, reference.budgets, reference.recipe, seed)
