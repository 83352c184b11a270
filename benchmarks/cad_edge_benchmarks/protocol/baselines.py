"""Baselines that have one model for everything, learned by the same method on pooled images.

``joint`` pools all training images of all tasks so far: what one bank can do that never has to
forget. ``naive`` has the newest step's images only: what overwriting forgets. ``replay`` has those
and stored images of older tasks, as many as fit into the bytes that cad-edge keeps for the tasks.

None of them knows products, so nothing is routed: one model, one threshold, every frame. Nothing of
a step's model remains in a later one, so a step that is not measured need not be learned.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cad_edge.data.image import ImageRecipe, decode_image
from cad_edge.data.stream import StreamTask
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.bundle_contents import (
    calibrations_of,
    task_bytes,
    version_bytes,
)
from cad_edge_benchmarks.instruments.image_links import link_image
from cad_edge_benchmarks.protocol.judging import judge
from cad_edge_benchmarks.protocol.learners import (
    Measured,
    Recipe,
    cost_of,
    export_lacking,
    learn_tasks,
    open_bundle,
)
from cad_edge_benchmarks.protocol.task_sequence import Step

Pool = Callable[[list[Step], Path], int]
"""Fills a folder with the images to learn from after some steps; returns the bytes of those that
had to be stored for it."""


class OneModel:
    """A learner with one model, learned anew for every step that is measured.

    Parameters
    ----------
    recipe
        How to learn.
    learned
        Folder of artifacts, one per step, and of the images they were learned from.
    measured
        Folder of the bundle, in which the model of every step is a task, always given.
    pool
        What the model of a step learns from.
    """

    def __init__(self, recipe: Recipe, learned: Path, measured: Path, pool: Pool) -> None:
        self._recipe = recipe
        self._learned = learned
        self._measured = measured
        self._pool = pool
        self._steps: list[Step] = []

    def learn(self, step: Step) -> None:
        """Take note of ``step``."""
        self._steps.append(step)

    def evaluate(self) -> Measured:
        """Learn the one model and judge all tasks so far with it."""
        name = f"step-{len(self._steps):02d}"
        stored = self._learn_now(name)
        bundle = self._measured / "bundle"
        export_lacking([self._learned / name], bundle, self._recipe.backbone)
        with open_bundle(bundle, self._recipe.threads) as detector:
            manifest = detector.manifest
            evaluations = judge(
                lambda _: lambda frame, depth: detector.detect(frame, name, depth),
                [task for step in self._steps for task in step],
                calibrations_of(manifest),
                self._recipe.false_reject_rate,
                self._recipe.compats,
                routed=False,
            )
        size = task_bytes(Bundle(bundle), manifest, name)
        return Measured(
            costs={name: cost_of(self._learned / name, size)},
            kept_bytes=size + stored,
            bundle_bytes=version_bytes(Bundle(bundle), manifest, [name]),
            evaluations=evaluations,
        )

    def _learn_now(self, name: str) -> int:
        """Learn the pooled images as a task ``name``; return the bytes stored for them."""
        images = self._learned / f".images-{name}"
        shutil.rmtree(images, ignore_errors=True)
        stored = self._pool(self._steps, images)
        task = StreamTask(name=name, path=images, layout="folder")
        learn_tasks(self._recipe, [task], self._learned)
        return stored


def link_all(steps: list[Step], folder: Path) -> int:
    """Pool all training images of all steps; all of them had to be stored, as the files they are.

    Returns the bytes of those of older steps.
    """
    for step in steps:
        for task in step:
            _link(task, folder)
    older = [image for step in steps[:-1] for task in step for image in _train(task)]
    return sum(image.stat().st_size for image in older)


def link_newest(steps: list[Step], folder: Path) -> int:
    """Pool the training images of the newest step; nothing had to be stored."""
    for task in steps[-1]:
        _link(task, folder)
    return 0


def link_replay(
    budgets: Mapping[str, int], recipe: ImageRecipe, seed: int, steps: list[Step], folder: Path
) -> int:
    """Pool the newest step's images and stored ones of older tasks.

    Of each older task, images in an order drawn by ``seed`` are stored as PNG at the network's
    size, one after the other as long as they fit into ``budgets`` (bytes by task).
    """
    for task in steps[-1]:
        _link(task, folder)
    older = [task for step in steps[:-1] for task in step]
    return sum(_store(task, budgets[task.name], recipe, seed, folder) for task in older)


def _store(task: StreamTask, budget: int, recipe: ImageRecipe, seed: int, folder: Path) -> int:
    """Store images of one task in at most ``budget`` bytes; return the bytes used."""
    images = _train(task)
    used = 0
    for place in np.random.default_rng(seed).permutation(len(images)):
        stored = folder / f"{task.name}.{place:05d}.png"
        folder.mkdir(parents=True, exist_ok=True)
        frame = recipe.apply(decode_image(images[place]))
        Image.fromarray(frame).save(stored, optimize=True)
        size = stored.stat().st_size
        if used + size > budget:
            stored.unlink()
            break
        used += size
    return used


def _link(task: StreamTask, folder: Path) -> None:
    for number, image in enumerate(_train(task)):
        link_image(image, folder / f"{task.name}.{number:05d}{image.suffix}")


def _train(task: StreamTask) -> tuple[Path, ...]:
    return task.images().train


BASELINES = {
    "joint": "one bank of all training images of all tasks so far",
    "naive": "one model, overwritten by each step",
    "replay": "one model of the newest step and stored images, in the bytes that cad-edge keeps",
}
"""All baselines by name, with what they are."""


@dataclass(frozen=True)
class Reference:
    """What ``replay`` takes from cad-edge after the same stream."""

    budgets: Mapping[str, int]
    """Bytes that cad-edge keeps, by task."""
    recipe: ImageRecipe
    """Size at which images are learned."""


def pool_of(name: str, seed: int, reference: Reference) -> Pool:
    """Return what a baseline of `BASELINES` learns from."""
    if name == "joint":
        return link_all
    if name == "naive":
        return link_newest
    return partial(link_replay, reference.budgets, reference.recipe, seed)
