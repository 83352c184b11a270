"""The assembly as a folder: a product in the layout of MVTec AD, a stream file, and the levels."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from cad_edge.data.product import GOOD
from cad_edge.errors import DatasetError
from cad_edge_studies.procedural_assembly.scenes import LEVELS, render
from cad_edge_studies.procedural_rgbd_line.writing import STREAM, holds

PRODUCT = "assembly_tray"
LEVELS_FILE = "levels.json"
_TRAIN, _TEST = 0, 1  # what images are drawn for, a part of their seeds


class _Shot(NamedTuple):
    """One tray to draw."""

    folder: Path
    """`train` or `test`, and below it what the tray is."""
    number: int
    seeds: tuple[int, ...]
    defect: str | None

    def files(self) -> Iterator[tuple[Path, NDArray[Any]]]:
        """Paths of its files below the folder of the product, and their pixels."""
        scene = render(self.seeds, self.defect)
        yield self.folder / f"{self.number:03d}.png", scene.rgb
        if self.defect is not None:
            mask = Path("ground_truth", self.defect, f"{self.number:03d}_mask.png")
            yield mask, scene.mask.astype(np.uint8) * 255


def write_assembly(folder: Path, train: int, good: int, each: int, seed: int, rate: float) -> Path:
    """Write images of the product, its stream file and the levels of its defects.

    A product that is there and as it would be drawn is not drawn again.

    Parameters
    ----------
    folder
        Gets the product's folder, `stream.yaml`, and `levels.json`: the level of each kind.
    train
        Good trays to learn from.
    good, each
        Good trays to test with, and trays with each kind of defect.
    seed
        Of all that is drawn. No image depends on another, nor on how many there are.
    rate
        Stated false-reject rate.

    Returns
    -------
    Path
        The stream file.

    Raises
    ------
    DatasetError
        The folder of the product holds other images than would be drawn.
    """
    shots = list(_shots(train, good, each, seed))
    if not (folder / PRODUCT).exists():
        _write_product(folder, shots)
    elif not _is_as_drawn(folder / PRODUCT, shots):
        raise DatasetError(
            f"{folder / PRODUCT} holds other images than would be drawn; delete it or take "
            "another folder"
        )
    (folder / LEVELS_FILE).write_text(json.dumps(LEVELS, indent=2) + "\n", encoding="utf-8")
    stream = {
        "name": "procedural assembly",
        "false_reject_rate": rate,
        "tasks": [{"name": PRODUCT, "path": PRODUCT}],
    }
    path = folder / STREAM
    path.write_text(yaml.safe_dump(stream, sort_keys=False), encoding="utf-8")
    return path


def _shots(train: int, good: int, each: int, seed: int) -> Iterator[_Shot]:
    for folder, count, purpose in ("train", train, _TRAIN), ("test", good, _TEST):
        for number in range(count):
            yield _Shot(Path(folder, GOOD), number, (seed, purpose, number), None)
    for row, defect in enumerate(LEVELS, 1):
        for number in range(each):
            yield _Shot(Path("test", defect), number, (seed, _TEST, number, row), defect)


def _write_product(folder: Path, shots: list[_Shot]) -> None:
    """Write under another name first, so that a product that is there is complete."""
    draft = folder / f".{PRODUCT}"
    shutil.rmtree(draft, ignore_errors=True)
    for shot in shots:
        for path, pixels in shot.files():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(draft / path)
    draft.rename(folder / PRODUCT)


def _is_as_drawn(folder: Path, shots: list[_Shot]) -> bool:
    """Compare the number of files, and the first tray of every kind with how it is drawn."""
    expected = sum(1 + (shot.defect is not None) for shot in shots)
    firsts = (file for shot in shots if shot.number == 0 for file in shot.files())
    return len(list(folder.rglob("*.png"))) == expected and all(
        holds(folder / path, pixels) for path, pixels in firsts
    )
