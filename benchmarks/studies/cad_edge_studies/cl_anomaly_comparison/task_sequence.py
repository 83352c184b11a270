"""The stream of a comparison: labelled categories, dealt 8:2, in several orders."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cad_edge.data.labelled import LabelledSplit, split_labelled
from cad_edge.data.product import LabelledImage, ProductImages
from cad_edge.data.stream import Stream, StreamTask
from cad_edge_benchmarks.instruments.open_data import FALSE_REJECT_RATE, categories

CATEGORIES = ("juice_bottle", "magnetic_tile", "pcb", "screw_on_wood", "solar_mono")
"""The five open categories with the most labelled images; named before anything was measured."""

JOINT = "joint"


def tasks_of(folder: Path, names: Sequence[str], seed: int) -> dict[str, StreamTask]:
    """Return categories of the open data as tasks whose labelled images are dealt by ``seed``.

    Raises
    ------
    OptionError
        A name is not a category.
    """
    known = categories(folder, names)
    return {
        name: StreamTask(
            name=name,
            path=known[name][0].absolute(),
            layout=known[name][1],
            labelled=LabelledSplit(seed=seed),
        )
        for name in names
    }


def stream_of(tasks: Sequence[StreamTask]) -> Stream:
    """Return the tasks as a stream, in this order."""
    return Stream(name="questions", false_reject_rate=FALSE_REJECT_RATE, tasks=list(tasks))


def orders(names: Sequence[str], count: int, seed: int) -> list[tuple[str, ...]]:
    """Return ``count`` different orders: the given one, then shuffled ones."""
    rng = np.random.default_rng(seed)
    found = [tuple(names)]
    while len(found) < count:
        order = tuple(names[place] for place in rng.permutation(len(names)))
        if order not in found:
            found.append(order)
    return found


def joint_task(tasks: Sequence[StreamTask], folder: Path) -> StreamTask:
    """Return one task that holds what all ``tasks`` learn from, and none of their test images."""
    entries = [entry for task in tasks for entry in _entries(task.images())]
    return _written(JOINT, entries, folder)


def hold_back(
    tasks: Mapping[str, StreamTask], folder: Path, seed: int
) -> tuple[dict[str, StreamTask], dict[str, tuple[LabelledImage, ...]]]:
    """Deal the training images of tasks once more; return what is left, and what is held back.

    Options are chosen by what is held back, so that no test image has a part in them.
    """
    left, held = {}, {}
    for name, task in tasks.items():
        product = task.images()
        learned = ProductImages(train=product.train, defective=product.defective)
        dealt = split_labelled(learned, LabelledSplit(seed=seed))
        left[name], held[name] = _written(name, _entries(dealt), folder / name), dealt.test
    return left, held


def _written(name: str, entries: list[dict[str, object]], folder: Path) -> StreamTask:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")
    return StreamTask(name=name, path=folder.absolute(), layout="instruction")


def _entries(product: ProductImages) -> list[dict[str, object]]:
    answered = [
        *((path, "No") for path in product.train),
        *((item.path, "Yes") for item in product.defective),
    ]
    return [
        {"image": str(path), "conversations": [{"value": "<image>"}, {"value": answer}]}
        for path, answer in answered
    ]
