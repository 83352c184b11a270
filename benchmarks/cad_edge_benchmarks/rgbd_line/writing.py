"""The line as a folder: layout rgbd, and a stream file beside the products."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from cad_edge.dataset import GOOD
from cad_edge_benchmarks.rgbd_line.defects import DEFECTS
from cad_edge_benchmarks.rgbd_line.parts import PARTS
from cad_edge_benchmarks.rgbd_line.scenes import SIDE, STEP, Scene, render

STREAM = "stream.yaml"
_TRAIN, _TEST = 0, 1  # what images are drawn for, a part of their seeds


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
    """Write images of products and a stream file; images that are there are not drawn again.

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
    """
    names = [name for step in steps for name in step]
    for name in names:
        if (folder / name).is_dir():
            continue
        place = list(PARTS).index(name)
        draft = folder / f".{name}"
        for number in range(train):
            scene = render(name, (seed, place, _TRAIN, number), None, side)
            _write(draft / "train" / GOOD, number, scene)
        for number in range(good):
            scene = render(name, (seed, place, _TEST, number), None, side)
            _write(draft / "test" / GOOD, number, scene)
        for row, defect in enumerate(DEFECTS, start=1):
            for number in range(each):
                scene = render(name, (seed, place, _TEST, number, row), defect, side)
                _write(draft / "test" / defect, number, scene)
        draft.rename(folder / name)
    tasks = [{"name": name, "path": name, "layout": "rgbd"} for name in names]
    stream = {
        "name": "procedural RGB-D line",
        "false_reject_rate": rate,
        "tasks": tasks,
        "steps": [list(step) for step in steps],
    }
    path = folder / STREAM
    path.write_text(yaml.safe_dump(stream, sort_keys=False), encoding="utf-8")
    return path


def _write(folder: Path, number: int, scene: Scene) -> None:
    steps = np.rint(scene.depth / STEP).astype(np.uint16)
    shown = {"rgb": scene.rgb, "depth": steps}
    if scene.mask.any():
        shown["gt"] = scene.mask.astype(np.uint8) * 255
    for kind, pixels in shown.items():
        place = folder / kind
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:03d}.png")
