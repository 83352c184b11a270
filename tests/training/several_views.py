"""Products whose parts are shown in several views, one of which gives a defect away."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cad_edge.data.stream import Stream, read_stream
from tests.training.small_products import NAMES, spoil, texture

VIEWS = 2
OPTIONS = {"epochs": "2", "batch": "4", "learning_rate": "0.01", "balanced": "true"}


def part(name: str, rng: np.random.Generator, defective: bool) -> list[np.ndarray]:
    """Views of one part, (80, 80, 3) uint8 each; a defect is seen in the last."""
    views = [texture(name, rng) for _ in range(VIEWS)]
    return [*views[:-1], spoil(views[-1])] if defective else views


def write_parts(folder: Path, name: str, good: int = 12, tested: int = 8) -> Path:
    """Write ``<folder>/<name>`` with train/good, test/good and test/blot, a folder a part."""
    rng = np.random.default_rng(200 + NAMES.index(name))
    for place, count in (("train/good", good), ("test/good", tested), ("test/blot", tested)):
        for number in range(count):
            target = folder / name / place / f"{number:03d}"
            target.mkdir(parents=True)
            for view, pixels in enumerate(part(name, rng, place.endswith("blot"))):
                Image.fromarray(pixels).save(target / f"{view}.png")
    return folder / name


def line_of(folder: Path, *names: str, **changes: object) -> Stream:
    """Write and read a stream file for products that are there, the last task with changes."""
    plain = {"labelled": {"test_share": 0.2}, "views": VIEWS}
    tasks = [{"name": name, "path": name} | plain for name in names]
    tasks[-1] |= changes
    file = folder / "views.json"
    file.write_text(json.dumps({"name": "views", "false_reject_rate": 0.2, "tasks": tasks}))
    return read_stream(file)
