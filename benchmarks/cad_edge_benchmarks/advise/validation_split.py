"""Images that choose a setting, and others that report it: one half of each, drawn by the seed.

Choosing the best of many settings on some images makes it look better on them than it is. So the
figure that is reported comes from images that had no part in the choice.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cad_edge.data.product import LabelledImage, ProductImages
from cad_edge.data.stream import Stream, StreamTask
from cad_edge.schema import TaskName
from cad_edge_benchmarks.advise.synthetic_anomalies import Part, write_stand_in

FEWEST = 2
"""Good and defective test images that a product needs: one of each in either half."""


@dataclass(frozen=True)
class ProductHalves:
    """One product: what it is learned from, and what judges it."""

    task: StreamTask
    """Its folder, or one of links without the good parts that are held out."""
    learned: int
    """Good images that it is learned from."""
    choosing: tuple[Part, ...]
    reporting: tuple[Part, ...]
    stand_in: str | None
    """Why synthetic defects stand in for real ones; None where they do not."""


@dataclass(frozen=True)
class Line:
    """All products."""

    stream: Stream
    """Learned from."""
    halves: dict[TaskName, ProductHalves]


def divide(stream: Stream, place: Path, seed: int) -> Line:
    """Divide the test images of every product.

    Where there are too few, part of the good images is held out and gets synthetic defects in
    ``place``.

    Raises
    ------
    DatasetError
        A product cannot be read, or is too small to hold images out.
    """
    halves = {}
    for task in stream.tasks:
        product = task.images()
        halves[task.name] = _divide(task, product, place / task.name, seed)
    tasks = [one.task for one in halves.values()]
    return Line(stream.model_copy(update={"tasks": tasks}), halves)


def _divide(task: StreamTask, product: ProductImages, place: Path, seed: int) -> ProductHalves:
    own_seed = seed_of(seed, task.name)
    reason = _lacking(product.test)
    if reason is None:
        parts = [Part(item, str(item.path)) for item in product.test]
        source, learned = task, len(product.train)
    else:
        source, parts = write_stand_in(task, product, place, own_seed)
        learned = len(product.train) - len({part.origin for part in parts})
    return ProductHalves(source, learned, *deal(parts, own_seed), reason)


def seed_of(seed: int, name: str) -> int:
    """Seed of one product, which does not depend on the products beside it."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def _lacking(tests: Sequence[LabelledImage]) -> str | None:
    """Say why test images cannot be divided; None if they can."""
    good = sum(not item.anomalous for item in tests)
    defective = len(tests) - good
    if good >= FEWEST and defective >= FEWEST:
        return None
    if not tests:
        return "no test images"
    return f"{good} good and {defective} defective test images"


def deal(parts: Sequence[Part], seed: int) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Deal parts to two halves, good and defective apart and kind by kind; odd ones to the first.

    Images of one origin go to one half, so that neither half knows the other's.
    """
    rng = np.random.default_rng(seed)
    good = {part.origin: None for part in parts if not part.image.anomalous}
    by_kind: dict[str, list[str]] = {}
    for part in parts:
        if part.origin not in good:
            by_kind.setdefault(part.image.label, []).append(part.origin)
    defective = [origin for kind in sorted(by_kind) for origin in _shuffled(by_kind[kind], rng)]
    first = {*_shuffled(list(good), rng)[::2], *defective[::2]}
    chosen = tuple(part for part in parts if part.origin in first)
    return chosen, tuple(part for part in parts if part.origin not in first)


def _shuffled(origins: list[str], rng: np.random.Generator) -> list[str]:
    return [origins[at] for at in rng.permutation(len(origins))]
