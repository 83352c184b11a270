"""The stream of a comparison: labelled categories, read once, in several orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cad_edge.image import ImageRecipe
from cad_edge.labelled import LabelledSplit
from cad_edge.stream import StreamTask
from cad_edge_benchmarks.open_data import categories
from cad_edge_training.train import read_images

CATEGORIES = ("juice_bottle", "magnetic_tile", "pcb", "screw_on_wood", "solar_mono")
"""The five open categories with the most labelled images; named before anything was measured."""

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Questions:
    """One category, dealt 8:2 by the seed."""

    name: str
    good: Images
    """(n, height, width, 3) uint8, to learn from."""
    defective: Images
    """(m, height, width, 3) uint8, to learn from."""
    test: Images
    """(k, height, width, 3) uint8; nothing is learned, chosen or calibrated on them."""
    anomalous: npt.NDArray[np.bool_]
    """(k,) bool."""


def read_questions(
    folder: Path, names: Sequence[str], recipe: ImageRecipe, seed: int
) -> dict[str, Questions]:
    """Read categories of the open data; raise DatasetError if one is missing."""
    known = categories(folder)
    found = {}
    for name in names:
        path, layout = known[name]
        task = StreamTask(name=name, path=path, layout=layout, labelled=LabelledSplit(seed=seed))
        product = task.images()
        found[name] = Questions(
            name,
            read_images(product.train, recipe, _quiet),
            read_images([item.path for item in product.defective], recipe, _quiet),
            read_images([item.path for item in product.test], recipe, _quiet),
            np.array([item.anomalous for item in product.test]),
        )
    return found


def _quiet(doing: str, done: int, total: int) -> None:
    """Show nothing: reading takes a second or two."""


def orders(names: Sequence[str], count: int, seed: int) -> list[tuple[str, ...]]:
    """Return ``count`` different orders: the given one, then shuffled ones."""
    rng = np.random.default_rng(seed)
    found = [tuple(names)]
    while len(found) < count:
        order = tuple(names[place] for place in rng.permutation(len(names)))
        if order not in found:
            found.append(order)
    return found


def pooled(questions: Sequence[Questions]) -> Questions:
    """Join categories into one, to be learned at once."""
    return Questions(
        "joint",
        np.concatenate([one.good for one in questions]),
        np.concatenate([one.defective for one in questions]),
        np.concatenate([one.test for one in questions]),
        np.concatenate([one.anomalous for one in questions]),
    )
