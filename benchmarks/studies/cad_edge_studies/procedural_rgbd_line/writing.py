"""The line as a folder: layout rgbd, and a stream file beside the products."""

import shutil
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from cad_edge.data.product import GOOD
from cad_edge.errors import DatasetError, OptionError
from cad_edge_studies.procedural_rgbd_line.defects import DEFECTS
from cad_edge_studies.procedural_rgbd_line.parts import PARTS
from cad_edge_studies.procedural_rgbd_line.scenes import SIDE, STEP, render

STREAM = "stream.yaml"
_TRAIN, _TEST = 0, 1  # what images are drawn for, a part of their seeds
# Another processor may round a few levels differently; another line differs nearly everywhere.
_ROUNDED = 0.01  # share of pixels


class _Shot(NamedTuple):
    """One part to draw."""

    product: str
    folder: Path
    """Below the product's."""
    number: int
    seeds: tuple[int, ...]
    defect: str | None

    def files(self, side: int) -> Iterator[tuple[Path, NDArray[Any]]]:
        """Paths of its files below the folder of the product, and their pixels."""
        scene = render(self.product, self.seeds, self.defect, side)
        planes = [("rgb", scene.rgb), ("depth", np.rint(scene.depth / STEP).astype(np.uint16))]
        if scene.defect is not None:
            planes.append(("gt", scene.mask.astype(np.uint8) * 255))
        for kind, pixels in planes:
            yield self.folder / kind / f"{self.number:03d}.png", pixels


def write_line(
    folder: Path,
    steps: Sequence[Sequence[str]],
    train: int,
    good: int,
    each: int,
    seed: int,
    rate: float,
    side: int = SIDE,
) -> Path:
    """Write images of products and a stream file; products that are there are not drawn again.

    Parameters
    ----------
    folder
        Gets one folder for each product.
    steps
        Products that are learned together, step by step.
    train
        Good parts to learn from, for each product.
    good, each
        Good parts to test with, and parts with each kind of defect.
    seed
        Of all that is drawn. Images of a product do not depend on the others.
    rate
        Stated false-reject rate.
    side
        Pixels.

    Returns
    -------
    Path
        The stream file.

    Raises
    ------
    OptionError
        A name is no part of the line, or is there twice.
    DatasetError
        The folder of a product holds other images than would be drawn.
    """
    names = [name for step in steps for name in step]
    if unknown := [name for name in names if name not in PARTS]:
        raise OptionError(f"the line has no part {unknown[0]!r}; take some of {', '.join(PARTS)}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise OptionError(f"{twice[0]!r} is there twice; name every part once")
    for name in names:
        shots = list(_shots(name, train, good, each, seed))
        if not (folder / name).exists():
            _write_product(folder, name, shots, side)
        elif not _is_as_drawn(folder / name, shots, side):
            raise DatasetError(
                f"{folder / name} holds other images than would be drawn; delete it or take "
                "another folder"
            )
    stream = {
        "name": "procedural RGB-D line",
        "false_reject_rate": rate,
        "tasks": [{"name": name, "path": name, "layout": "rgbd"} for name in names],
        "steps": [list(step) for step in steps],
    }
    path = folder / STREAM
    path.write_text(yaml.safe_dump(stream, sort_keys=False), encoding="utf-8")
    return path


def _shots(name: str, train: int, good: int, each: int, seed: int) -> Iterator[_Shot]:
    place = list(PARTS).index(name)
    for folder, count, purpose in ("train", train, _TRAIN), ("test", good, _TEST):
        for number in range(count):
            yield _Shot(name, Path(folder, GOOD), number, (seed, place, purpose, number), None)
    for (row, defect), number in product(enumerate(DEFECTS, 1), range(each)):
        seeds = (seed, place, _TEST, number, row)
        yield _Shot(name, Path("test", defect), number, seeds, defect)


def _write_product(folder: Path, name: str, shots: Sequence[_Shot], side: int) -> None:
    """Write under another name first, so that a product that is there is complete."""
    draft = folder / f".{name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for shot in shots:
        for path, pixels in shot.files(side):
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(draft / path)
    draft.rename(folder / name)


def _is_as_drawn(folder: Path, shots: Sequence[_Shot], side: int) -> bool:
    """Compare the number of files, and the first part of every kind with how it is drawn."""
    expected = sum(2 + (shot.defect is not None) for shot in shots)
    firsts = (file for shot in shots if shot.number == 0 for file in shot.files(side))
    return len(list(folder.rglob("*.png"))) == expected and all(
        holds(folder / path, pixels) for path, pixels in firsts
    )


def holds(path: Path, pixels: NDArray[Any]) -> bool:
    """Whether a file holds these pixels, as far as another processor would draw them."""
    if not path.is_file():
        return False
    with Image.open(path) as image:
        found = np.asarray(image)
    return found.shape == pixels.shape and float(np.mean(found != pixels)) < _ROUNDED
