"""Small pictures for `cad-edge check`: grained surfaces, aligned parts, and copies of them."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

SIDE = 224  # pixels


def surface(rng: np.random.Generator, level: float = 120, side: int = SIDE) -> np.ndarray:
    """One draw of a grained surface, (side, side, 3) uint8: grain at three scales, and a tint."""
    grain = sum(
        weight * _unit(ndimage.gaussian_filter(rng.normal(size=(side, side)), scale))
        for scale, weight in ((1, 8), (3, 12), (9, 10))
    )
    return _pixels(level + grain[..., None] + np.array([6, 0, -6]))


def part(rng: np.random.Generator, level: float = 0, grain: float = 0.0) -> np.ndarray:
    """One photograph of a part that lies in the same place every time.

    Noise is its own, and what grain its material has.
    """
    rows, columns = np.indices((SIDE, SIDE))
    pattern = 60 * np.sign(np.sin(columns * 0.11) * np.cos(rows * 0.07))
    ring = np.hypot(rows - 110, columns - 120)
    pattern = pattern + 50 * (np.abs(ring - 60) < 9) + 30 * np.sin(rows * columns / 900)
    own = grain * _unit(ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 1.5))
    taken = 110 + level + (pattern + own)[..., None] + rng.normal(0, 2, (SIDE, SIDE, 3))
    return _pixels(taken)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / values.std()


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, quality: int = 75) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "encoded": encoded,
    "rescaled": lambda pixels: resized(pixels, 0.9),
    "enlarged": lambda pixels: resized(pixels, 1.5),
    "brightened": lambda pixels: _pixels(pixels * 1.08 + 7.0),
    "shifted": lambda pixels: np.roll(pixels, (4, -6), (0, 1))[4:, :-6],
    "cropped": lambda pixels: pixels[9:-3, 4:-8],
    "all of it": lambda pixels: encoded(resized(_pixels(pixels[3:, :-5] * 0.95), 0.95), 85),
}
"""Ways in which one photograph comes to lie in a folder twice."""


def write(folder: Path, pictures: list[np.ndarray], start: int = 0) -> list[Path]:
    """Save pictures as 000.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in range(start, start + len(pictures))]
    for path, pixels in zip(paths, pictures, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def stream_file(folder: Path, rate: float = 0.2, **task: object) -> Path:
    """Write a stream of the one product ``plate`` in ``folder``."""
    record = {
        "name": "line",
        "false_reject_rate": rate,
        "tasks": [{"name": "plate", "path": "plate", **task}],
    }
    path = folder / "line.json"
    path.write_text(json.dumps(record))
    return path
