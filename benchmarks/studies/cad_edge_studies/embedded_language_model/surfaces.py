"""Seeded procedural surfaces: cloth, wood, metal, stone, tiles, boards, and others like them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cad_edge_studies.procedural_rgbd_line.fields import smooth_noise

SIDE = 224  # pixels; the size at which the embedded tower looks
WHOLE = np.ones((SIDE, SIDE), np.bool_)

Field = NDArray[Any]
"""(SIDE, SIDE) float32, mostly in [0, 1]."""

Colour = NDArray[np.float32]
"""(3,) float32 RGB in [0, 255]."""


class GoodImage(NamedTuple):
    """A good image, and where on it a defect can be."""

    pixels: NDArray[np.float32]
    """(SIDE, SIDE, 3) float32 RGB in [0, 255]."""
    body: NDArray[np.bool_]
    """(SIDE, SIDE) bool: the part, not what it lies on."""
    name: str
    """What is seen, as an answer calls it: ``woven fabric``."""
    behind: Colour
    """What shows where a piece of the part is missing."""


def noise(
    rng: np.random.Generator, rows: int | tuple[int, int], columns: tuple[int, int] | None = None
) -> Field:
    """Smooth noise of deviation about 1; cells in rows and columns are drawn from ranges."""
    high = int(rng.integers(*rows)) if isinstance(rows, tuple) else rows
    return smooth_noise(rng, SIDE, high, columns and int(rng.integers(*columns)))


def axes(rng: np.random.Generator, turn: float = np.pi, wobble: float = 0.0) -> tuple[Field, Field]:
    """Two perpendicular coordinates in pixels, turned by up to ``turn`` and bent by ``wobble``."""
    rows, columns = np.indices((SIDE, SIDE), np.float32)
    # Lines of products mostly run along the image or nearly so.
    angle = rng.uniform(0, turn) if rng.random() < 0.4 else rng.normal(0, 0.05)
    across = columns * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))
    along = rows * np.float32(np.cos(angle)) - columns * np.float32(np.sin(angle))
    if wobble:
        across = across + np.float32(wobble) * noise(rng, 4)
        along = along + np.float32(wobble) * noise(rng, 4)
    return across, along


def _wave(coordinate: Field, period: float, rng: np.random.Generator) -> Field:
    phase = np.float32(rng.uniform(0, 2 * np.pi))
    field: Field = np.sin(coordinate * np.float32(2 * np.pi / period) + phase) * 0.5 + 0.5
    return field


def _sharp(field: Field, threshold: float, slope: float) -> Field:
    """Step from 0 to 1 where a field passes the threshold."""
    return np.clip((field - threshold) * np.float32(slope) + 0.5, 0, 1)


def _leather(rng: np.random.Generator) -> Field:
    cells = int(rng.integers(18, 45))
    field: Field = np.clip(np.abs(noise(rng, cells)) + np.abs(noise(rng, cells)), 0, 2) * 0.5
    return field


def _weave(rng: np.random.Generator) -> Field:
    across, along = axes(rng, wobble=rng.uniform(0, 1.5))
    period = rng.uniform(5, 18)
    warp, weft = _wave(across, period, rng), _wave(along, period * rng.uniform(0.8, 1.2), rng)
    over = _wave(across + along, 2 * period, rng) > 0.5
    return np.where(over, warp, weft * np.float32(0.8)) + 0.08 * noise(rng, 112)


def _knit(rng: np.random.Generator) -> Field:
    across, along = axes(rng, wobble=rng.uniform(0, 2))
    period = rng.uniform(8, 22)
    bent = along + np.abs(_wave(across, period, rng) - 0.5) * np.float32(period)
    return _wave(bent, period * 0.6, rng) + 0.08 * noise(rng, 112)


def _stripes(rng: np.random.Generator) -> Field:
    across, _ = axes(rng, wobble=rng.uniform(0, 3))
    stripes = _wave(across, rng.uniform(7, 45), rng)
    return (_sharp(stripes, 0.5, 6) if rng.random() < 0.5 else stripes) + 0.05 * noise(rng, 90)


def _mesh(rng: np.random.Generator) -> Field:
    across, along = axes(rng)
    period, slope = rng.uniform(10, 36), rng.uniform(3, 10)
    bars = np.maximum(_wave(across, period, rng), _wave(along, period, rng))
    return _sharp(bars, rng.uniform(0.6, 0.9), slope)


def _dots(rng: np.random.Generator) -> Field:
    across, along = axes(rng)
    period = rng.uniform(12, 40)
    lattice = _wave(across, period, rng) * _wave(along, period, rng)
    return _sharp(lattice, rng.uniform(0.3, 0.7), rng.uniform(3, 12))


def _tiles(rng: np.random.Generator) -> Field:
    across, along = axes(rng)
    width, height = rng.uniform(24, 80, 2)
    shift = np.floor(along / np.float32(height)) * np.float32(rng.choice((0, width / 2)))
    edge = np.minimum((across + shift) % np.float32(width), along % np.float32(height))
    joints: Field = np.clip(edge / np.float32(rng.uniform(1.5, 4)), 0, 1)
    return joints * 0.7 + 0.12 * noise(rng, (20, 110))


def _brushed(rng: np.random.Generator) -> Field:
    field = 0.5 + 0.16 * noise(rng, 224, (2, 8)) + 0.1 * noise(rng, 3)
    return field.T if rng.random() < 0.5 else field


def _wood(rng: np.random.Generator) -> Field:
    across, along = axes(rng, turn=0.3)
    even = across * np.float32(rng.uniform(0.05, 0.3))
    rings = even + np.float32(rng.uniform(1, 4)) * noise(rng, 2, (2, 6))
    fibres = smooth_noise(rng, SIDE, 3 if rng.random() < 0.8 else 8, 200)
    return np.sin(rings + 0.002 * along) * 0.25 + 0.5 + 0.12 * fibres


def _cells(rng: np.random.Generator) -> Field:
    """Solar cells: dark squares, fine fingers, wide bus bars."""
    across, along = axes(rng, turn=0.1)
    pitch = rng.uniform(60, 150)
    fingers = _wave(along, rng.uniform(4, 9), rng) > 0.85
    bars = (across % np.float32(pitch / rng.integers(2, 5))) < rng.uniform(1.5, 4)
    gaps = np.minimum(across % np.float32(pitch), along % np.float32(pitch)) < rng.uniform(2, 5)
    field = 0.12 + 0.25 * fingers.astype(np.float32) + 0.06 * noise(rng, 24)
    return np.where(gaps | bars, np.float32(0.9), field)


SURFACES: dict[str, Callable[[np.random.Generator], Field]] = {
    "smooth surface": lambda rng: 0.5 + 0.12 * noise(rng, (2, 5)),
    "grainy surface": lambda rng: 0.5 + 0.18 * noise(rng, (60, 225)) + 0.1 * noise(rng, (6, 30)),
    "stone surface": lambda rng: np.clip(
        np.abs(noise(rng, (25, 80))) * 0.45 + 0.1 * noise(rng, 112), 0, 1
    ),
    "leather": _leather,
    "woven fabric": _weave,
    "knitted fabric": _knit,
    "striped surface": _stripes,
    "mesh": _mesh,
    "tiled surface": _tiles,
    "brushed metal": _brushed,
    "wooden surface": _wood,
    "dotted surface": _dots,
    "solar panel": _cells,
}


def colours(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Draw a dark and a light colour of one surface; every other pair is grey."""
    middle, contrast = rng.uniform(50, 205), rng.uniform(18, 75)
    tint = np.zeros(3) if rng.random() < 0.5 else rng.normal(0, 22, 3)
    second = tint + (0 if rng.random() < 0.6 else rng.normal(0, 25, 3))
    pair = middle - contrast + tint, middle + contrast + second
    if rng.random() < 0.3:
        pair = pair[::-1]
    dark, light = (np.clip(colour, 8, 247).astype(np.float32) for colour in pair)
    return dark, light


def paint(field: Field, dark: Colour, light: Colour) -> Field:
    """Colour a field: (SIDE, SIDE, 3) float32."""
    painted: Field = dark + field[..., None] * (light - dark)
    return painted


def surface(rng: np.random.Generator) -> GoodImage:
    """Draw a surface that fills the image."""
    name = str(rng.choice(list(SURFACES)))
    pixels = paint(SURFACES[name](rng), *colours(rng))
    return GoodImage(pixels, WHOLE, name, np.full(3, rng.choice((15.0, 235.0)), np.float32))


def board(rng: np.random.Generator) -> GoodImage:
    """Draw a printed circuit board: tracks, pads, chips."""
    green = rng.random() < 0.7
    base = rng.uniform((0, 50, 10), (60, 130, 90)) if green else rng.uniform(20, 150, 3)
    track = np.clip(base * rng.uniform(1.25, 1.8), 0, 255)
    ground, line = (tuple(int(level) for level in colour) for colour in (base, track))
    canvas = Image.new("RGB", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(canvas)
    pitch = int(rng.integers(14, 30))
    for _ in range(int(rng.integers(8, 26))):
        x, y = (rng.integers(0, SIDE // pitch + 1, 2) * pitch).tolist()
        corner, end = (start + int(rng.integers(-4, 5)) * pitch for start in (x, y))
        pen.line([(x, y), (corner, y), (corner, end)], fill=line, width=int(rng.integers(2, 5)))
        for left, top in ((x - 4, y - 4), (corner - 4, end - 4)):
            pen.ellipse([left, top, left + 8, top + 8], fill=(205, 190, 130))
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.integers(5, SIDE - 70, 2).tolist()
        width, height = rng.integers(18, 66, 2).tolist()
        shade = int(rng.integers(20, 90))
        for leg in range(x + 3, x + width - 2, 8):
            pen.rectangle([leg, y - 4, leg + 3, y + height + 4], fill=(190, 190, 190))
        pen.rectangle([x, y, x + width, y + height], fill=(shade, shade, shade))
    pixels = np.asarray(canvas, np.float32) + 3 * noise(rng, 112)[..., None]
    return GoodImage(pixels, WHOLE, "circuit board", np.full(3, 20, np.float32))
