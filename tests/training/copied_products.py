"""A product of fifteen parts, as often and in as many ways as a folder can hold each of them."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

PARTS = 15
SIDE = 128  # pixels of an image on the disk

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def part(number: int) -> np.ndarray:
    """One good part, (128, 128) uint8: its waves lie where no other part's do."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    across, down = rng.normal(0, 0.3, 2)
    waves = np.sin(columns / 9 + across) * np.cos(rows / 13 + down)
    return levels(127 + 90 * waves + rng.normal(0, 6, (SIDE, SIDE)))


def scratched(number: int) -> np.ndarray:
    """A part with a bright square."""
    pixels = part(number).copy()
    pixels[50:65, 50:65] = 255
    return pixels


def levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return np.asarray(Image.open(buffer))


COPIES: dict[str, Change] = {
    "exact": lambda pixels, rng: pixels,
    "encoded": encoded,
    "next frame": lambda pixels, rng: levels(pixels + rng.normal(0, 3, pixels.shape)),
    "brighter frame": lambda pixels, rng: levels(
        1.03 * pixels + 3 + rng.normal(0, 1, pixels.shape)
    ),
}
"""What a second picture of one part is."""


def write_parts(folder: Path, *copies: str, parts: int = PARTS, start: int = 0) -> Path:
    """Write a product, each part once and once more for each of ``copies``, and a test of ten."""
    rng = np.random.default_rng(1000)
    for number in range(parts):
        pixels = part(start + number)
        _save(folder / f"train/good/{number:02d}.png", pixels)
        for place, name in enumerate(copies):
            _save(folder / f"train/good/{number:02d}-{place}.png", COPIES[name](pixels, rng))
    for number in range(10):
        _save(folder / f"test/good/{number}.png", part(100 + number))
        _save(folder / f"test/scratch/{number}.png", scratched(200 + number))
    return folder


def shown(scale: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """New parts (40, side, side, 3), good ones and scratched ones."""
    good = [part(300 + number) for number in range(40)]
    bad = [scratched(400 + number) for number in range(40)]
    return tuple(np.repeat(np.stack(them)[..., None], 3, axis=3) for them in (good, bad))


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
