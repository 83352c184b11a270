"""Real surfaces without a download: photographs that scikit-image ships, cut into windows.

A photograph is cut into windows that do not overlap, and a seeded draw decides which of them are
learned from and which are held out. No pixel is in two windows, so the held-out windows are new to
the bundle, and the windows that set the threshold are new to the model that scores them. (Windows
that overlap look like more images and make a threshold that real parts do not keep.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml

from cad_edge.data.image import Frame, decode_image
from cad_edge.errors import DatasetError
from cad_edge.heatmap import write_png
from cad_edge_benchmarks.demo.defects import draw_defects, kind_of
from cad_edge_benchmarks.instruments.image_folders import write_defective

PRODUCTS = ("brick", "grass", "gravel")
"""Photographs that are learned, in this order; all three are in the public domain (CC0)."""

UNKNOWN = "coins"
"""Photograph that is never learned."""

FOREIGN = {"brick": "gravel", "grass": "brick", "gravel": "brick"}
"""Photograph out of which foreign bodies are cut: of the two others, the one less alike."""

SIDE = 64  # pixels of a window
HELD_OUT = 3 / 8  # share of the windows that is kept for the test
FALSE_REJECT_RATE = 0.05  # one good window in twenty; needs 19 held-out windows

Corner = tuple[int, int]
"""Row and column of a window's upper left pixel."""


@dataclass(frozen=True)
class DemoLine:
    """What was written for the demo."""

    stream: Path
    """Stream file of the products, each in the MVTec AD layout."""

    unknown: Path
    """Folder of windows of the product that is never learned."""


def photograph(name: str) -> Frame:
    """Decode a photograph out of the installed scikit-image, (height, width, 3) uint8.

    Raises
    ------
    DatasetError
        This scikit-image does not ship it.
    """
    path = Path(str(files("skimage"))) / "data" / f"{name}.png"
    if not path.is_file():
        raise DatasetError(
            f"{path} does not exist, so the demo lacks its photograph; "
            'run `pip install --force-reinstall "scikit-image>=0.24"`'
        )
    return decode_image(path)


def grid(height: int, width: int, side: int = SIDE) -> list[Corner]:
    """Corners of the windows that fit into a photograph without overlap, centred, row by row."""
    rows, columns = height // side, width // side
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    return [
        (top + side * row, left + side * column) for row in range(rows) for column in range(columns)
    ]


def draw_lots(corners: Sequence[Corner], seed: int) -> tuple[list[Corner], list[Corner]]:
    """Divide windows into those to learn from and those held out, by a seeded draw."""
    order = np.random.default_rng(seed).permutation(len(corners))
    kept = round(len(corners) * HELD_OUT)
    return [corners[at] for at in order[kept:]], [corners[at] for at in order[:kept]]


def cut(image: Frame, corners: Sequence[Corner], side: int = SIDE) -> Frame:
    """Cut windows (n, side, side, 3) uint8 out of ``image`` (height, width, 3) uint8."""
    return np.stack([image[row : row + side, column : column + side] for row, column in corners])


def write_line(folder: Path, seed: int) -> DemoLine:
    """Write the products, the unknown product and the stream file into ``folder``.

    Raises
    ------
    DatasetError, ImageError
        A photograph is missing, or a file cannot be written.
    """
    for number, name in enumerate(PRODUCTS):
        # Neighbouring seeds of the demo must not give two products the same defects.
        own_seed = seed * len(PRODUCTS) + number
        write_product(folder / name, photograph(name), photograph(FOREIGN[name]), own_seed)
    image = photograph(UNKNOWN)
    unknown = folder / "never_learned" / UNKNOWN
    _write_windows(unknown, image, grid(*image.shape[:2]))
    stream = folder / "stream.yaml"
    content = {
        "name": "demo",
        "false_reject_rate": FALSE_REJECT_RATE,
        "tasks": [{"name": name, "path": name} for name in PRODUCTS],
    }
    stream.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return DemoLine(stream, unknown)


def write_product(folder: Path, image: Frame, foreign: Frame, seed: int) -> None:
    """Write one product: windows to learn from, and each held-out one good and with a defect."""
    train, test = draw_lots(grid(*image.shape[:2]), seed)
    _write_windows(folder / "train" / "good", image, train)
    _write_windows(folder / "test" / "good", image, test)
    damaged, masks = draw_defects(cut(image, test), foreign, seed)
    for number, corner in enumerate(test):
        write_defective(folder, kind_of(number), _name(corner), damaged[number], masks[number])


def _write_windows(folder: Path, image: Frame, corners: Sequence[Corner]) -> None:
    for corner, window in zip(corners, cut(image, corners), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{_name(corner)}.png", window)


def _name(corner: Corner) -> str:
    return f"row{corner[0]:03}_column{corner[1]:03}"
