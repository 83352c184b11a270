"""Seeded synthetic defects at a chosen place, beyond those of `synthetic`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cad_edge.data.image import Frame
from cad_edge_training.backbones.llava.surfaces import Colour, Picture
from cad_edge_training.synthetic import blot, cut_paste, scratch

SCALE = 3  # strokes are drawn this much larger and averaged
CHANGED = 8.0  # grey levels from which a pixel belongs to the defect


class Spot(NamedTuple):
    """The square of the image that a defect is drawn in."""

    pixels: NDArray[np.float32]
    """(side, side, 3) float32; not changed."""
    behind: Colour
    rng: np.random.Generator


Stroke = NDArray[np.float32]
"""(side, side) float32 opacity in [0, 1]."""


def _stroke(side: int, draw: Callable[[ImageDraw.ImageDraw], None], blur: float = 0.0) -> Stroke:
    canvas = Image.new("L", (side * SCALE, side * SCALE))
    draw(ImageDraw.Draw(canvas))
    small = canvas.reduce(SCALE)
    if blur:
        small = small.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(small, np.float32) / np.float32(255)


def _blob(spot: Spot, radius: float, blur: float = 0.0) -> Stroke:
    """Draw an irregular round area in the middle; ``radius`` as a share of the side."""
    side, rng = len(spot.pixels), spot.rng
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    bumps = sum(
        rng.normal(0, 0.22 / wave) * np.cos(wave * angles + rng.uniform(0, 6)) for wave in (2, 3, 4)
    )
    stretch, turn = rng.uniform(0.5, 1.0), rng.uniform(0, np.pi)
    radii = radius * side * SCALE * np.clip(1 + bumps, 0.5, 1.5)
    x, y = np.cos(angles) * radii, np.sin(angles) * radii * stretch
    middle = side * SCALE / 2
    points = [
        (
            float(middle + a * np.cos(turn) - b * np.sin(turn)),
            float(middle + a * np.sin(turn) + b * np.cos(turn)),
        )
        for a, b in zip(x, y, strict=True)
    ]
    return _stroke(side, lambda pen: pen.polygon(points, fill=255), blur)


def _path(spot: Spot, jag: float, reach: float, steps: int = 14) -> NDArray[np.float64]:
    """Draw a wandering line (steps, 2) through the middle, in pixels of the drawing."""
    side, rng = len(spot.pixels), spot.rng
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, jag, steps))
    path = np.cumsum(np.stack((np.cos(heading), np.sin(heading)), axis=1), axis=0)
    path *= reach * side * SCALE / steps
    centred: NDArray[np.float64] = path - path.mean(axis=0) + side * SCALE / 2
    return centred


def _towards(spot: Spot, stroke: Stroke, colour: NDArray[np.floating]) -> NDArray[np.float32]:
    return spot.pixels + stroke[..., None] * (colour.astype(np.float32) - spot.pixels)


def _contrast(spot: Spot) -> NDArray[np.float64]:
    """Choose a colour that differs from the mean of the spot."""
    mean, rng = spot.pixels.mean(axis=(0, 1)).astype(np.float64), spot.rng
    brighter = mean.mean() < 90 or (mean.mean() < 165 and rng.random() < 0.5)
    change = rng.uniform(60, 110) * rng.uniform(0.6, 1.0, 3)
    colour: NDArray[np.float64] = np.clip(mean + (change if brighter else -change), 0, 255)
    return colour


def _hole(spot: Spot) -> NDArray[np.float32]:
    stroke = _blob(spot, spot.rng.uniform(0.12, 0.3))
    rim = np.clip(_dilated(stroke) - stroke, 0, 1)
    pixels = _towards(spot, stroke, np.minimum(spot.pixels.min(axis=(0, 1)), 40) * 0.6)
    pixels += rim[..., None] * np.float32(spot.rng.uniform(-30, 40))
    return pixels


def _dilated(stroke: Stroke) -> Stroke:
    image = Image.fromarray(np.rint(stroke * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.MaxFilter(5)), np.float32) / np.float32(255)


def _missing(spot: Spot) -> NDArray[np.float32]:
    return _towards(spot, _blob(spot, spot.rng.uniform(0.2, 0.42), 0.5), spot.behind)


def _dent(spot: Spot) -> NDArray[np.float32]:
    """Light on one flank and shadow on the other, without any change of colour."""
    side, rng = len(spot.pixels), spot.rng
    bump = _blob(spot, rng.uniform(0.15, 0.3), blur=0.07 * side)
    rows, columns = np.gradient(bump)
    angle = rng.uniform(0, 2 * np.pi)
    light = rows * np.sin(angle) + columns * np.cos(angle)
    light *= rng.uniform(50, 100) / max(float(np.abs(light).max()), 1e-6)
    lit: NDArray[np.float32] = spot.pixels + light[..., None].astype(np.float32)
    return lit


def _bright_spot(spot: Spot) -> NDArray[np.float32]:
    stroke = _blob(spot, spot.rng.uniform(0.1, 0.25), blur=0.05 * len(spot.pixels))
    return spot.pixels + stroke[..., None] * np.float32(spot.rng.uniform(70, 130))


def _crack(spot: Spot) -> NDArray[np.float32]:
    path = _path(spot, 0.55, spot.rng.uniform(0.7, 1.1))
    fork = path[len(path) // 2] + (_path(spot, 0.5, 0.4, 7) - len(spot.pixels) * SCALE / 2)
    width = round(spot.rng.uniform(1.0, 2.4) * SCALE)

    def draw(pen: ImageDraw.ImageDraw) -> None:
        pen.line([(float(x), float(y)) for x, y in path], fill=255, width=width)
        pen.line([(float(x), float(y)) for x, y in fork], fill=255, width=max(width - 2, 2))

    return _towards(spot, _stroke(len(spot.pixels), draw), spot.pixels.mean(axis=(0, 1)) * 0.25)


def _thread(spot: Spot) -> NDArray[np.float32]:
    path = _path(spot, 0.3, spot.rng.uniform(0.8, 1.4), steps=20)
    width = round(spot.rng.uniform(1.0, 2.2) * SCALE)
    stroke = _stroke(
        len(spot.pixels),
        lambda pen: pen.line([(float(x), float(y)) for x, y in path], fill=255, width=width),
    )
    return _towards(spot, stroke, _contrast(spot))


def _scratch(spot: Spot) -> NDArray[np.float32]:
    return _borrowed(spot, scratch)


def _stain(spot: Spot) -> NDArray[np.float32]:
    if spot.rng.random() < 0.5:
        return _borrowed(spot, blot)
    stroke = _blob(spot, spot.rng.uniform(0.15, 0.35), blur=0.04 * len(spot.pixels))
    return _towards(spot, stroke * np.float32(0.7), _contrast(spot))


def _patch(spot: Spot) -> NDArray[np.float32]:
    return _borrowed(spot, cut_paste)


def _borrowed(
    spot: Spot,
    kind: Callable[[Frame, np.random.Generator], tuple[Frame, NDArray[np.bool_]]],
) -> NDArray[np.float32]:
    frame = np.clip(np.rint(spot.pixels), 0, 255).astype(np.uint8)
    damaged, _ = kind(frame, spot.rng)
    return spot.pixels + (damaged.astype(np.float32) - frame)


def _distortion(spot: Spot) -> NDArray[np.float32]:
    """Swirl the pattern around the middle."""
    side, rng = len(spot.pixels), spot.rng
    rows, columns = np.indices((side, side)) - (side - 1) / 2
    near = np.clip(1 - np.hypot(rows, columns) / (side / 2), 0, 1)
    angle = near * rng.choice((-1, 1)) * rng.uniform(0.8, 2.0)
    source_row = rows * np.cos(angle) - columns * np.sin(angle) + (side - 1) / 2
    source_column = rows * np.sin(angle) + columns * np.cos(angle) + (side - 1) / 2
    index = [
        np.clip(np.rint(part), 0, side - 1).astype(int) for part in (source_row, source_column)
    ]
    swirled: NDArray[np.float32] = spot.pixels[index[0], index[1]]
    return swirled


# Sides of the square in which a defect is drawn, in pixels, and how it is drawn.
FLAWS: dict[str, tuple[tuple[int, int], Callable[[Spot], NDArray[np.float32]]]] = {
    "scratch": ((60, 180), _scratch),
    "stain": ((40, 130), _stain),
    "hole": ((28, 100), _hole),
    "missing piece": ((36, 120), _missing),
    "dent": ((36, 110), _dent),
    "bright spot": ((30, 110), _bright_spot),
    "crack": ((50, 150), _crack),
    "patch": ((60, 180), _patch),
    "thread": ((50, 140), _thread),
    "distortion": ((40, 110), _distortion),
}


def damaged(
    picture: Picture, kind: str, strength: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Give a part one defect.

    Parameters
    ----------
    picture
        The good part; not changed.
    kind
        A key of `FLAWS`.
    strength
        Share of the change that is applied: 1 is plain, 0.4 is subtle.

    Returns
    -------
    tuple
        Pixels (SIDE, SIDE, 3) float32 and mask (SIDE, SIDE) bool of what changed by some grey
        levels.
    """
    (smallest, largest), draw = FLAWS[kind]
    side = int(rng.integers(smallest, largest + 1))
    places = np.flatnonzero(picture.body)
    centre = np.unravel_index(int(rng.choice(places)), picture.body.shape)
    limits = zip(centre, picture.body.shape, strict=True)
    top, left = (int(np.clip(middle - side // 2, 0, whole - side)) for middle, whole in limits)
    square = np.s_[top : top + side, left : left + side]
    spot = Spot(picture.pixels[square], picture.behind, rng)
    change = draw(spot) - spot.pixels
    if kind != "thread":  # a thread may hang over the edge; the rest is damage of the part
        change = change * picture.body[square][..., None]
    pixels = picture.pixels.copy()
    pixels[square] += np.float32(strength) * change
    mask = np.zeros(picture.body.shape, np.bool_)
    mask[square] = np.abs(change).mean(axis=2) * strength > CHANGED
    return pixels, mask
