"""Seeded synthetic defects at a chosen place, beyond those of `synthetic`."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cad_edge.data.image import Frame
from cad_edge_studies.embedded_language_model.surfaces import SIDE, Colour, GoodImage
from cad_edge_training.synthetic import Opacity, blot, cut_paste, scratch, stroke

SCALE = 3  # strokes are drawn this much larger and averaged
CHANGED = 8.0  # grey levels from which a pixel belongs to the defect

Pixels = NDArray[np.float32]
"""(side, side, 3)."""

Points = NDArray[np.float64]
"""(n, 2) float64 x and y in pixels of a drawing."""


class Window(NamedTuple):
    """The square of the image that a defect is drawn in."""

    pixels: Pixels
    """Not changed."""
    behind: Colour
    rng: np.random.Generator

    @property
    def side(self) -> int:
        """Pixels."""
        return len(self.pixels)

    def stroke(self, draw: Callable[[ImageDraw.ImageDraw], None], blur: float = 0.0) -> Opacity:
        """Opacity (side, side) of what ``draw`` paints."""
        return stroke((self.side, self.side), draw, blur, SCALE)

    def lines(self, *paths: tuple[Points, int]) -> Opacity:
        """Opacity (side, side) of paths, each of a width."""

        def draw(pen: ImageDraw.ImageDraw) -> None:
            for path, width in paths:
                pen.line(path.ravel().tolist(), fill=255, width=width)

        return self.stroke(draw)

    def blend(self, opacity: Opacity, colour: NDArray[np.floating]) -> Pixels:
        """Pixels with ``colour`` (3,) laid over them."""
        return self.pixels + opacity[..., None] * (colour.astype(np.float32) - self.pixels)


def _blob(window: Window, smallest: float, largest: float, blur: float = 0.0) -> Opacity:
    """Draw an irregular round area in the middle; radii as shares of the side."""
    rng, size = window.rng, window.side * SCALE
    radius, angles = rng.uniform(smallest, largest), np.linspace(0, 2 * np.pi, 40, endpoint=False)
    bumps = sum(
        rng.normal(0, 0.22 / wave) * np.cos(wave * angles + rng.uniform(0, 6)) for wave in (2, 3, 4)
    )
    stretch, turn = rng.uniform(0.5, 1.0), rng.uniform(0, np.pi)
    radii = radius * size * np.clip(1 + bumps, 0.5, 1.5)
    a, b = np.cos(angles) * radii, np.sin(angles) * radii * stretch
    x = size / 2 + a * np.cos(turn) - b * np.sin(turn)
    y = size / 2 + a * np.sin(turn) + b * np.cos(turn)
    points = np.stack((x, y), axis=1).ravel().tolist()
    return window.stroke(lambda pen: pen.polygon(points, fill=255), blur)


def _path(window: Window, jag: float, reach: float, steps: int) -> Points:
    """Draw a wandering line (steps, 2) through the middle, in pixels of the drawing."""
    rng, size = window.rng, window.side * SCALE
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, jag, steps))
    path = np.cumsum(np.stack((np.cos(heading), np.sin(heading)), axis=1), axis=0)
    path *= reach * size / steps
    centred: Points = path - path.mean(axis=0) + size / 2
    return centred


def _contrast(window: Window) -> NDArray[np.float64]:
    """Choose a colour that differs from the mean of the window."""
    mean, rng = window.pixels.mean(axis=(0, 1)).astype(np.float64), window.rng
    brighter = mean.mean() < 90 or (mean.mean() < 165 and rng.random() < 0.5)
    change = rng.uniform(60, 110) * rng.uniform(0.6, 1.0, 3)
    colour: NDArray[np.float64] = np.clip(mean + (change if brighter else -change), 0, 255)
    return colour


def _hole(window: Window) -> Pixels:
    opacity = _blob(window, 0.12, 0.3)
    image = Image.fromarray(np.rint(opacity * 255).astype(np.uint8))
    grown = np.asarray(image.filter(ImageFilter.MaxFilter(5)), np.float32) / np.float32(255)
    pixels = window.blend(opacity, np.minimum(window.pixels.min(axis=(0, 1)), 40) * 0.6)
    rim = np.clip(grown - opacity, 0, 1)
    pixels += rim[..., None] * np.float32(window.rng.uniform(-30, 40))
    return pixels


def _dent(window: Window) -> Pixels:
    """Light on one flank and shadow on the other, without any change of colour."""
    rng = window.rng
    rows, columns = np.gradient(_blob(window, 0.15, 0.3, 0.07 * window.side))
    angle = rng.uniform(0, 2 * np.pi)
    light = rows * np.sin(angle) + columns * np.cos(angle)
    light *= rng.uniform(50, 100) / max(float(np.abs(light).max()), 1e-6)
    lit: Pixels = window.pixels + light[..., None].astype(np.float32)
    return lit


def _bright_spot(window: Window) -> Pixels:
    opacity = _blob(window, 0.1, 0.25, 0.05 * window.side)
    return window.pixels + opacity[..., None] * np.float32(window.rng.uniform(70, 130))


def _crack(window: Window) -> Pixels:
    path = _path(window, 0.55, window.rng.uniform(0.7, 1.1), steps=14)
    fork = path[len(path) // 2] + (_path(window, 0.5, 0.4, steps=7) - window.side * SCALE / 2)
    width = round(window.rng.uniform(1.0, 2.4) * SCALE)
    opacity = window.lines((path, width), (fork, max(width - 2, 2)))
    return window.blend(opacity, window.pixels.mean(axis=(0, 1)) * 0.25)


def _thread(window: Window) -> Pixels:
    path = _path(window, 0.3, window.rng.uniform(0.8, 1.4), steps=20)
    opacity = window.lines((path, round(window.rng.uniform(1.0, 2.2) * SCALE)))
    return window.blend(opacity, _contrast(window))


def _stain(window: Window) -> Pixels:
    if window.rng.random() < 0.5:
        return _synthetic(window, blot)
    opacity = _blob(window, 0.15, 0.35, 0.04 * window.side)
    return window.blend(opacity * np.float32(0.7), _contrast(window))


def _synthetic(
    window: Window, kind: Callable[[Frame, np.random.Generator], tuple[Frame, NDArray[np.bool_]]]
) -> Pixels:
    frame = np.clip(np.rint(window.pixels), 0, 255).astype(np.uint8)
    defective, _ = kind(frame, window.rng)
    return window.pixels + (defective.astype(np.float32) - frame)


def _distortion(window: Window) -> Pixels:
    """Swirl the pattern around the middle."""
    middle, rng = (window.side - 1) / 2, window.rng
    rows, columns = np.indices((window.side, window.side)) - middle
    near = np.clip(1 - np.hypot(rows, columns) / (window.side / 2), 0, 1)
    angle = near * rng.choice((-1, 1)) * rng.uniform(0.8, 2.0)
    row = rows * np.cos(angle) - columns * np.sin(angle) + middle
    column = rows * np.sin(angle) + columns * np.cos(angle) + middle
    source = np.clip(np.rint((row, column)), 0, window.side - 1).astype(int)
    swirled: Pixels = window.pixels[source[0], source[1]]
    return swirled


# Sides of the square in which a defect is drawn, in pixels, and how it is drawn.
DEFECTS: dict[str, tuple[tuple[int, int], Callable[[Window], Pixels]]] = {
    "scratch": ((60, 180), partial(_synthetic, kind=scratch)),
    "stain": ((40, 130), _stain),
    "hole": ((28, 100), _hole),
    "missing piece": (
        (36, 120),
        lambda window: window.blend(_blob(window, 0.2, 0.42, 0.5), window.behind),
    ),
    "dent": ((36, 110), _dent),
    "bright spot": ((30, 110), _bright_spot),
    "crack": ((50, 150), _crack),
    "patch": ((60, 180), partial(_synthetic, kind=cut_paste)),
    "thread": ((50, 140), _thread),
    "distortion": ((40, 110), _distortion),
}


def add_defect(
    picture: GoodImage, kind: str, strength: float, rng: np.random.Generator
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Give a copy of a good part one defect.

    Parameters
    ----------
    kind
        A key of `DEFECTS`.
    strength
        Share of the change that is applied: 1 is plain, 0.4 is subtle.

    Returns
    -------
    tuple
        Pixels, and mask (SIDE, SIDE) bool of what changed by some grey levels.
    """
    (smallest, largest), draw = DEFECTS[kind]
    side = int(rng.integers(smallest, largest + 1))
    centre = np.unravel_index(int(rng.choice(np.flatnonzero(picture.body))), picture.body.shape)
    top, left = (int(np.clip(middle - side // 2, 0, SIDE - side)) for middle in centre)
    square = np.s_[top : top + side, left : left + side]
    window = Window(picture.pixels[square], picture.behind, rng)
    change = draw(window) - window.pixels
    if kind != "thread":  # a thread may hang over the edge; the rest is damage of the part
        change = change * picture.body[square][..., None]
    pixels, mask = picture.pixels.copy(), np.zeros_like(picture.body)
    pixels[square] += np.float32(strength) * change
    mask[square] = np.abs(change).mean(axis=2) * strength > CHANGED
    return pixels, mask
