"""Seeded procedural parts on a table: discs, rings, gears, bottles, boxes, screws, pills."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cad_edge_studies.embedded_language_model.surfaces import (
    SIDE,
    SURFACES,
    Colour,
    Field,
    GoodImage,
    colours,
    noise,
    paint,
)

SCALE = 2  # outlines are drawn this much larger and averaged
CALM = ("smooth surface", "grainy surface", "brushed metal", "leather", "wooden surface")

Outline = list[tuple[float, float]]
Shapes = list[tuple[Outline, float]]
"""Polygons with coordinates in [-1, 1], and the level that each paints; level 0 is the table."""


def _around(corners: int) -> NDArray[np.float64]:
    """Angles (corners,) of a whole turn."""
    return np.linspace(0, 2 * np.pi, corners, endpoint=False)


def _turned(angles: NDArray[np.float64], radii: NDArray[np.float64] | float) -> Outline:
    return list(zip(np.cos(angles) * radii, np.sin(angles) * radii, strict=True))


def _circle(radius: float, x: float = 0.0, y: float = 0.0, corners: int = 48) -> Outline:
    return [(px + x, py + y) for px, py in _turned(_around(corners), radius)]


def _box(left: float, top: float, right: float, bottom: float) -> Outline:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _disc(rng: np.random.Generator) -> Shapes:
    shapes: Shapes = [(_circle(0.9), 1.0)]
    for radius in sorted(rng.uniform(0.1, 0.8, int(rng.integers(0, 4))), reverse=True):
        shapes.append((_circle(float(radius)), float(rng.uniform(0.5, 1.3))))
    return shapes


def _washer(rng: np.random.Generator) -> Shapes:
    corners = 6 if rng.random() < 0.4 else 48
    return [
        (_circle(0.9, corners=corners), 1.0),
        (_circle(rng.uniform(0.5, 0.6)), 0.8),
        (_circle(rng.uniform(0.3, 0.48)), 0.0),
    ]


def _gear(rng: np.random.Generator) -> Shapes:
    teeth = int(rng.integers(8, 22))
    angles = _around(teeth * 8)
    radii = np.where(np.sin(angles * teeth) > 0, 0.92, rng.uniform(0.72, 0.84))
    shapes: Shapes = [(_turned(angles, radii), 1.0), (_circle(0.55), 0.85)]
    holes = int(rng.integers(0, 7))
    for angle in _around(holes):
        shapes.append((_circle(0.1, 0.37 * np.cos(angle), 0.37 * np.sin(angle)), 0.0))
    return [*shapes, (_circle(0.15), 0.0)]


def _bottle(rng: np.random.Generator) -> Shapes:
    half, neck, shoulder = rng.uniform(0.3, 0.45), rng.uniform(0.12, 0.2), rng.uniform(-0.5, -0.2)
    body = [(-half, 0.95), (-half, shoulder + 0.2), (-neck, shoulder - 0.1), (-neck, -0.8)]
    outline = body + [(-x, y) for x, y in reversed(body)]
    label = _box(-half, rng.uniform(0.0, 0.25), half, rng.uniform(0.4, 0.75))
    cap = _box(-neck - 0.04, -0.95, neck + 0.04, -0.72)
    return [(outline, 1.0), (label, rng.uniform(1.2, 1.6)), (cap, rng.uniform(0.3, 0.7))]


def _carton(rng: np.random.Generator) -> Shapes:
    width, height = rng.uniform(0.5, 0.9, 2)
    shapes: Shapes = [(_box(-width, -height, width, height), 1.0)]
    shapes.append((_box(-width, -0.08, width, 0.08), rng.uniform(0.6, 1.4)))
    top = rng.uniform(-0.8, -0.4) * height
    for line in range(int(rng.integers(0, 4))):
        row = top + 0.12 * line
        shapes.append((_box(-0.7 * width, row, rng.uniform(0, 0.7) * width, row + 0.05), 0.5))
    return shapes


def _screw(rng: np.random.Generator) -> Shapes:
    shank, head = rng.uniform(0.1, 0.2), rng.uniform(0.25, 0.4)
    shapes: Shapes = [(_box(-shank, -0.7, shank, 0.8), 1.0)]
    shapes.append(([(-shank, 0.8), (shank, 0.8), (0.0, 0.95)], 1.0))
    pitch = rng.uniform(0.07, 0.13)
    for row in np.arange(-0.35, 0.78, pitch):
        ends = [(-shank - 0.05, row), (shank + 0.05, row + 0.5 * pitch)]
        shapes.append(([*ends, (ends[1][0], ends[1][1] + 0.03), (ends[0][0], row + 0.03)], 0.7))
    return [*shapes, ([(-head, -0.92), (head, -0.92), (shank, -0.65), (-shank, -0.65)], 1.1)]


def _pill(rng: np.random.Generator) -> Shapes:
    flat = rng.uniform(0.35, 0.75)
    outline = [(0.9 * x, flat * y) for x, y in _circle(1.0, corners=64)]
    shapes: Shapes = [(outline, 1.0)]
    if rng.random() < 0.5:
        shapes.append(([(x, y) for x, y in outline if x >= 0], rng.uniform(0.6, 1.4)))
    else:
        shapes.append((_box(-0.02, -flat, 0.02, flat), 0.75))
    return shapes


def _cable(rng: np.random.Generator) -> Shapes:
    shapes: Shapes = [(_circle(0.9), 1.0), (_circle(0.78), 0.75)]
    cores, start = int(rng.integers(3, 5)), rng.uniform(0, 6)
    for angle in start + _around(cores):
        x, y = 0.4 * np.cos(angle), 0.4 * np.sin(angle)
        shapes += [(_circle(0.28, x, y), rng.uniform(0.4, 1.4)), (_circle(0.16, x, y), 1.5)]
    return shapes


def _tray(rng: np.random.Generator) -> Shapes:
    """Equal parts in rows, each a little out of place."""
    rows, columns = (int(value) for value in rng.integers(2, 6, 2))
    radius = 0.75 / max(rows, columns)
    corners = int(rng.choice((4, 6, 48)))
    inner = rng.uniform(0.5, 1.4)
    shapes: Shapes = []
    for y in (np.arange(rows) + 0.5) * 1.9 / rows - 0.95:
        for x in (np.arange(columns) + 0.5) * 1.9 / columns - 0.95:
            px, py = np.array((x, y)) + rng.normal(0, 0.01, 2)
            shapes.append((_circle(radius, float(px), float(py), corners), 1.0))
            shapes.append((_circle(0.5 * radius, float(px), float(py), corners), inner))
    return shapes


PARTS: dict[str, Callable[[np.random.Generator], Shapes]] = {
    "round part": _disc,
    "washer": _washer,
    "gear": _gear,
    "bottle": _bottle,
    "carton": _carton,
    "screw": _screw,
    "pill": _pill,
    "cable": _cable,
    "set of parts": _tray,
}


def part(rng: np.random.Generator) -> GoodImage:
    """Draw a part, somewhat turned, shifted and shaded, on a calm table."""
    name = str(rng.choice(list(PARTS)))
    table = paint(SURFACES[str(rng.choice(CALM))](rng) * 0.5 + 0.25, *colours(rng))
    levels = _drawn(PARTS[name](rng), rng)
    body = levels > 0.05
    dark, light = _apart(table, rng)
    shade = 1 + np.float32(rng.uniform(0, 0.15)) * _relief(body, rng)
    texture = np.float32(rng.uniform(0.02, 0.12)) * noise(rng, int(rng.integers(30, 200)))
    covered = paint(np.clip(levels * np.float32(0.6) + texture, 0, 1), dark, light)
    cover = np.clip(levels * 3, 0, 1)[..., None]
    pixels = table * (1 - cover) + covered * shade[..., None] * cover
    behind = table.reshape(-1, 3).mean(axis=0)
    return GoodImage(pixels.astype(np.float32), body, name, behind)


def _apart(table: Field, rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Colours of a part that stand out from the mean of its table."""
    ground = table.mean()
    for _ in range(8):
        dark, light = colours(rng)
        if abs(float((dark + 0.6 * (light - dark)).mean()) - ground) > 45:
            break
    return dark, light


def _drawn(shapes: Shapes, rng: np.random.Generator) -> Field:
    """Levels (SIDE, SIDE) of the shapes at a random place, size and angle."""
    canvas = Image.new("F", (SIDE * SCALE, SIDE * SCALE))
    pen = ImageDraw.Draw(canvas)
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.normal(0, 0.06)
    size = rng.uniform(0.62, 1.02) * SIDE * SCALE / 2
    centre = SIDE * SCALE / 2 + rng.normal(0, 0.05, 2) * SIDE * SCALE / 2
    turn = np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle)))) * size
    for outline, level in shapes:
        corners = np.asarray(outline) @ turn + centre
        if len(corners) > 2:
            pen.polygon(corners.ravel().tolist(), fill=level)
    return np.asarray(canvas.reduce(SCALE), np.float32)


def _relief(body: NDArray[np.bool_], rng: np.random.Generator) -> Field:
    """Light from one side, in [-1, 1] across the part."""
    rows, columns = np.indices((SIDE, SIDE), np.float32) / (SIDE / 2) - 1
    angle = rng.uniform(0, 2 * np.pi)
    light: Field = rows * np.float32(np.sin(angle)) + columns * np.float32(np.cos(angle))
    return light * body
