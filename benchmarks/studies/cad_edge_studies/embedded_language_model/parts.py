"""Seeded procedural parts on a table: discs, rings, gears, bottles, boxes, screws, pills."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from cad_edge_studies.embedded_language_model.surfaces import (
    SIDE,
    SURFACES,
    Field,
    GoodImage,
    colours,
    noise,
    paint,
)

SCALE = 2  # outlines are drawn this much larger and averaged
CALM = ("smooth surface", "grainy surface", "brushed metal", "leather", "wooden surface")

Shapes = list[tuple[ArrayLike, float]]
"""Corners (n, 2) of polygons in [-1, 1], and the level that each paints; level 0 is the table."""


def _around(corners: int) -> NDArray[np.float64]:
    """Angles (corners,) of a whole turn."""
    return np.linspace(0, 2 * np.pi, corners, endpoint=False)


def _at(radii: NDArray[np.float64] | float, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 2) that far away in these directions."""
    return np.stack((np.cos(angles) * radii, np.sin(angles) * radii), axis=1)


def _circle(radius: float, centre: ArrayLike = (0, 0), corners: int = 48) -> NDArray[np.float64]:
    return _at(radius, _around(corners)) + np.asarray(centre, np.float64)


def _box(left: float, top: float, right: float, bottom: float) -> ArrayLike:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _disc(rng: np.random.Generator) -> Shapes:
    radii = sorted(rng.uniform(0.1, 0.8, int(rng.integers(0, 4))), reverse=True)
    return [(_circle(0.9), 1.0), *((_circle(radius), rng.uniform(0.5, 1.3)) for radius in radii)]


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
    holes = [(_circle(0.1, at), 0.0) for at in _at(0.37, _around(int(rng.integers(0, 7))))]
    return [(_at(radii, angles), 1.0), (_circle(0.55), 0.85), *holes, (_circle(0.15), 0.0)]


def _bottle(rng: np.random.Generator) -> Shapes:
    half, neck, shoulder = rng.uniform(0.3, 0.45), rng.uniform(0.12, 0.2), rng.uniform(-0.5, -0.2)
    body = [(-half, 0.95), (-half, shoulder + 0.2), (-neck, shoulder - 0.1), (-neck, -0.8)]
    outline = body + [(-x, y) for x, y in reversed(body)]
    label = _box(-half, rng.uniform(0.0, 0.25), half, rng.uniform(0.4, 0.75))
    cap = _box(-neck - 0.04, -0.95, neck + 0.04, -0.72)
    return [(outline, 1.0), (label, rng.uniform(1.2, 1.6)), (cap, rng.uniform(0.3, 0.7))]


def _carton(rng: np.random.Generator) -> Shapes:
    width, height = rng.uniform(0.5, 0.9, 2)
    tape = (_box(-width, -0.08, width, 0.08), rng.uniform(0.6, 1.4))
    tops = rng.uniform(-0.8, -0.4) * height + 0.12 * np.arange(rng.integers(0, 4))
    lines = [(_box(-0.7 * width, y, rng.uniform(0, 0.7) * width, y + 0.05), 0.5) for y in tops]
    return [(_box(-width, -height, width, height), 1.0), tape, *lines]


def _screw(rng: np.random.Generator) -> Shapes:
    shank, head = rng.uniform(0.1, 0.2), rng.uniform(0.25, 0.4)
    pitch, out = rng.uniform(0.07, 0.13), shank + 0.05
    ends = [(row, row + 0.5 * pitch) for row in np.arange(-0.35, 0.78, pitch)]
    return [
        (_box(-shank, -0.7, shank, 0.8), 1.0),
        ([(-shank, 0.8), (shank, 0.8), (0.0, 0.95)], 1.0),
        *(([(-out, a), (out, b), (out, b + 0.03), (-out, a + 0.03)], 0.7) for a, b in ends),
        ([(-head, -0.92), (head, -0.92), (shank, -0.65), (-shank, -0.65)], 1.1),
    ]


def _pill(rng: np.random.Generator) -> Shapes:
    flat = rng.uniform(0.35, 0.75)
    outline = _circle(1.0, corners=64) * (0.9, flat)
    if rng.random() < 0.5:
        return [(outline, 1.0), (outline[outline[:, 0] >= 0], rng.uniform(0.6, 1.4))]
    return [(outline, 1.0), (_box(-0.02, -flat, 0.02, flat), 0.75)]


def _cable(rng: np.random.Generator) -> Shapes:
    shapes: Shapes = [(_circle(0.9), 1.0), (_circle(0.78), 0.75)]
    cores = _around(int(rng.integers(3, 5)))
    for at in _at(0.4, rng.uniform(0, 6) + cores):
        shapes += [(_circle(0.28, at), rng.uniform(0.4, 1.4)), (_circle(0.16, at), 1.5)]
    return shapes


def _tray(rng: np.random.Generator) -> Shapes:
    """Equal parts in rows, each a little out of place."""
    rows, columns = rng.integers(2, 6, 2).tolist()
    radius = 0.75 / max(rows, columns)
    corners = int(rng.choice((4, 6, 48)))
    inner = rng.uniform(0.5, 1.4)
    shapes: Shapes = []
    for row, column in np.ndindex(rows, columns):
        place = np.array(((column + 0.5) * 1.9 / columns, (row + 0.5) * 1.9 / rows)) - 0.95
        at = place + rng.normal(0, 0.01, 2)
        shapes += [(_circle(radius, at, corners), 1.0), (_circle(0.5 * radius, at, corners), inner)]
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
    for _ in range(8):  # until its colours stand out from the table
        dark, light = colours(rng)
        if abs(float((dark + 0.6 * (light - dark)).mean()) - table.mean()) > 45:
            break
    shade = 1 + np.float32(rng.uniform(0, 0.15)) * _relief(rng) * body
    texture = np.float32(rng.uniform(0.02, 0.12)) * noise(rng, (30, 200))
    covered = paint(np.clip(levels * np.float32(0.6) + texture, 0, 1), dark, light)
    cover = np.clip(levels * 3, 0, 1)[..., None]
    pixels = table * (1 - cover) + covered * shade[..., None] * cover
    behind = table.reshape(-1, 3).mean(axis=0)
    return GoodImage(pixels.astype(np.float32), body, name, behind)


def _drawn(shapes: Shapes, rng: np.random.Generator) -> Field:
    """Levels (SIDE, SIDE) of the shapes at a random place, size and angle."""
    canvas = Image.new("F", (SIDE * SCALE, SIDE * SCALE))
    pen, half = ImageDraw.Draw(canvas), SIDE * SCALE / 2
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.normal(0, 0.06)
    size = rng.uniform(0.62, 1.02) * half
    centre = half + rng.normal(0, 0.05, 2) * half
    turn = np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle)))) * size
    for outline, level in shapes:
        corners = np.asarray(outline) @ turn + centre
        if len(corners) > 2:
            pen.polygon(corners.ravel().tolist(), fill=level)
    return np.asarray(canvas.reduce(SCALE), np.float32)


def _relief(rng: np.random.Generator) -> Field:
    """Light from one side, in [-1, 1] across the image."""
    rows, columns = np.indices((SIDE, SIDE), np.float32) / (SIDE / 2) - 1
    angle = rng.uniform(0, 2 * np.pi)
    light: Field = rows * np.float32(np.sin(angle)) + columns * np.float32(np.cos(angle))
    return light
