"""The line as a folder: layout rgbd, and a stream file beside the products."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class _Shot:
    """One part to draw."""

    product: str
    folder: Path
    """Below the product's."""
    number: int
    seeds: tuple[int, ...]
    defect: str | None

    def files(self, side: int) -> Mapping[Path, NDArray[Any]]:
        """Pixels of its files, by their paths below the folder of the product."""
        scene = render(self.product, self.seeds, self.defect, side)
        steps = np.rint(scene.depth / STEP).astype(np.uint16)
        planes: dict[str, NDArray[Any]] = {"rgb": scene.rgb, "depth": steps}
        if scene.defect is not None:
            planes["gt"] = scene.mask.astype(np.uint8) * 255
        return {self.folder / kind / f"{self.number:03d}.png": planes[kind] for kind in planes}


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
    _require_parts(names)
    for name in names:
        shots = list(_shots(name, train, good, each, seed))
        if (folder / name).exists():
            _require_same(folder / name, shots, side)
        else:
            _write_product(folder, name, shots, side)
    stream = {
        "name": "procedural RGB-D line",
        "false_reject_rate": rate,
        "tasks": [{"name": name, "path": name, "layout": "rgbd"} for name in names],
        "steps": [list(step) for step in steps],
    }
    path = folder / STREAM
    path.write_text(yaml.safe_dump(stream, sort_keys=False), encoding="utf-8")
    return path


def _require_parts(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise OptionError(f"the line has no part {unknown[0]!r}; take some of {', '.join(PARTS)}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise OptionError(f"{twice[0]!r} is there twice; name every part once")


def _shots(name: str, train: int, good: int, each: int, seed: int) -> Iterator[_Shot]:
    place = list(PARTS).index(name)
    kinds: list[tuple[Path, int, int, str | None]] = [
        (Path("train") / GOOD, train, _TRAIN, None),
        (Path("test") / GOOD, good, _TEST, None),
    ]
    kinds += [(Path("test") / defect, each, _TEST, defect) for defect in DEFECTS]
    for row, (below, count, purpose, defect) in enumerate(kinds, start=-1):
        for number in range(count):
            seeds = (seed, place, purpose, number)
            yield _Shot(name, below, number, seeds if defect is None else (*seeds, row), defect)


def _write_product(folder: Path, name: str, shots: Sequence[_Shot], side: int) -> None:
    """Write under another name first, so that a product that is there is complete."""
    draft = folder / f".{name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for shot in shots:
        for path, pixels in shot.files(side).items():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(draft / path)
    draft.rename(folder / name)


def _require_same(product: Path, shots: Sequence[_Shot], side: int) -> None:
    """Compare the number of files, and the first part of every kind with how it is drawn."""
    expected = sum(2 + (shot.defect is not None) for shot in shots)
    firsts = (shot for shot in shots if shot.number == 0)
    if len(list(product.rglob("*.png"))) != expected or not all(
        _is_as_drawn(product / path, pixels)
        for shot in firsts
        for path, pixels in shot.files(side).items()
    ):
        raise DatasetError(
            f"{product} holds other images than would be drawn; delete it or take another folder"
        )


def _is_as_drawn(path: Path, pixels: NDArray[Any]) -> bool:
    if not path.is_file():
        return False
    with Image.open(path) as image:
        found = np.asarray(image)
    return found.shape == pixels.shape and float(np.mean(found != pixels)) < _ROUNDED
