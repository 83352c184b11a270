"""Three products of seeded texture in the MVTec layout, and learning them in seconds."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cad_edge.data.stream import Stream, read_stream
from cad_edge_training.learned import LearningRequest
from cad_edge_training.train import TrainingPlan, train

NAMES = ("checks", "stripes", "waves")
SIDE = 80  # pixels of an image on the disk
LITE0 = "efficientnet-lite0"
SMALL = {"memories": "7+10x24,4x24", "keys": "24"}
"""Options of the default trunk: its own defaults, only with fewer patches kept."""

TINY = {"memories": "1+2x16", "statistics_blocks": "", "keys": "8"}
"""Options for the untrained transformers."""


def a_request(images, backbone, folds, seed=0, **more) -> LearningRequest:
    """A request to learn ``images``, good parts only and the first of its method."""
    rest = {
        "rate": 0.1,
        "defective": images[:0],
        "earlier": (),
        "workspace": Path("nowhere"),
    } | more
    return LearningRequest("waves", images, backbone, folds, seed, quiet, **rest)


def texture(name: str, rng: np.random.Generator) -> np.ndarray:
    """One good part, (80, 80, 3) uint8."""
    rows, columns = np.indices((SIDE, SIDE))
    phase = rng.uniform(0, 2 * np.pi, 2)
    pattern = {
        "checks": np.sign(np.sin(columns * 0.4 + phase[0]) * np.sin(rows * 0.4 + phase[1])),
        "stripes": np.sin(columns * 0.6 + phase[0]),
        "waves": np.sin((rows + columns) * 0.25 + 2 * np.sin(rows * 0.1) + phase[0]),
    }[name]
    tint = {"checks": (10, 20, -20), "stripes": (-30, 0, 30), "waves": (40, -10, 0)}[name]
    pixels = 125 + 45 * pattern[..., None] + np.array(tint) + rng.normal(0, 8, (SIDE, SIDE, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def spoil(image: np.ndarray) -> np.ndarray:
    """Put a bright blot on a copy."""
    spoiled = image.copy()
    spoiled[30:46, 34:50] = (250, 240, 60)
    return spoiled


def write_product(folder: Path, name: str, good: int = 10, test: int = 3) -> Path:
    """Write ``<folder>/<name>`` with train/good, test/good and test/blot."""
    rng = np.random.default_rng(100 + NAMES.index(name))
    for place, count, change in (
        ("train/good", good, np.copy),
        ("test/good", test, np.copy),
        ("test/blot", test, spoil),
    ):
        target = folder / name / place
        target.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(change(texture(name, rng))).save(target / f"{number:03d}.png")
    return folder / name


def write_stream(folder: Path, names: tuple[str, ...] = NAMES, good: int = 10) -> Stream:
    """Write the products and a stream file that lists them in this order."""
    for name in names:
        write_product(folder, name, good)
    return stream_of(folder, names)


def stream_of(folder: Path, names: tuple[str, ...]) -> Stream:
    """Write and read a stream file for products that are there."""
    return _written(folder / f"{'-'.join(names)}.json", names, {})


def steps_of(folder: Path, *steps: tuple[str, ...]) -> Stream:
    """Write and read a stream file whose ``steps`` are learned one after another, each whole."""
    names = tuple(name for step in steps for name in step)
    file = folder / f"steps-{'-'.join('+'.join(step) for step in steps)}.json"
    return _written(file, names, {"steps": steps})


def _written(file: Path, names: tuple[str, ...], more: dict[str, object]) -> Stream:
    tasks = [{"name": name, "path": name} for name in names]
    whole = {"name": "small", "false_reject_rate": 0.1, "tasks": tasks} | more
    file.write_text(json.dumps(whole))
    return read_stream(file)


def quiet(what: str, done: int, total: int) -> None:
    """Progress that only checks what it is told."""
    assert what and 0 <= done <= total


def learn(
    stream: Stream,
    out: Path,
    options: dict[str, str],
    backbone: str = LITE0,
    size: int | None = 64,
    seed: int = 0,
    method: str = "patch_memory",
) -> list[str]:
    """Learn a stream; return the tasks learned."""
    return train(
        stream, out, TrainingPlan(method, backbone, size, options, seed), lambda name: quiet
    )
