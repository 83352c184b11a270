"""Seeded images of good and defective parts, and what can be said about them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cad_edge_training.backbones.llava.flaws import FLAWS, damaged
from cad_edge_training.backbones.llava.parts import part
from cad_edge_training.backbones.llava.surfaces import SIDE, Picture, board, noise, surface

SMALLEST = 60  # changed pixels below which a defect is drawn again, since nobody could see it
TRIES = 6
PLAIN, SUBTLE = 1.0, 0.45
PLACES = (
    ("upper left", "upper middle", "upper right"),
    ("middle left", "centre", "middle right"),
    ("lower left", "lower middle", "lower right"),
)


class Flaw(NamedTuple):
    """What is said of a defect."""

    kind: str
    place: str
    size: str
    shade: str


class Scene(NamedTuple):
    """An image and what is true of it."""

    image: NDArray[np.uint8]
    """(SIDE, SIDE, 3) uint8 RGB."""
    name: str
    colour: str
    flaw: Flaw | None
    mask: NDArray[np.bool_]
    """(SIDE, SIDE) bool: what the defect changed by some grey levels."""


class Light(NamedTuple):
    """What the camera does to a part; both images of a pair get the same."""

    gain: NDArray[np.float32]
    """(SIDE, SIDE) float32 factor."""
    blur: float
    grain: NDArray[np.float32]
    """(SIDE, SIDE) float32 grey levels."""
    flips: tuple[bool, bool]


def scene_pair(seed: int, index: int) -> tuple[Scene, Scene]:
    """Draw one part twice, good and with a defect.

    Parameters
    ----------
    seed, index
        Equal ones give equal scenes, whatever was drawn before.

    Returns
    -------
    tuple
        The good scene, and the same with a defect, under the same light.
    """
    rng = np.random.default_rng((seed, index))
    draw = rng.random()
    picture = surface(rng) if draw < 0.55 else part(rng) if draw < 0.9 else board(rng)
    for _ in range(TRIES):
        kind = str(rng.choice(list(FLAWS)))
        pixels, mask = damaged(picture, kind, rng.uniform(SUBTLE, PLAIN), rng)
        if mask.sum() >= SMALLEST:
            break
    light = _light(rng)
    good = _shot(picture.pixels, light)
    bad = _shot(pixels, light)
    vertical, horizontal = light.flips
    seen = mask[:: -1 if vertical else 1, :: -1 if horizontal else 1]
    colour = colour_name(_mean_colour(picture, good, light))
    flaw = Flaw(kind, place_name(seen), size_name(seen), _shade_name(good, bad, seen))
    intact = np.zeros_like(seen)
    return (
        Scene(good, picture.name, colour, None, intact),
        Scene(bad, picture.name, colour, flaw, seen),
    )


def _light(rng: np.random.Generator) -> Light:
    gain = rng.uniform(0.75, 1.2) * (1 + rng.uniform(0, 0.12) * noise(rng, 2))
    blur = rng.uniform(0.3, 1.3) if rng.random() < 0.5 else 0.0
    grain = rng.normal(0, rng.uniform(0, 6), (SIDE, SIDE)).astype(np.float32)
    return Light(gain.astype(np.float32), blur, grain, (rng.random() < 0.5, rng.random() < 0.5))


def _shot(pixels: NDArray[np.float32], light: Light) -> NDArray[np.uint8]:
    lit = np.clip(pixels * light.gain[..., None], 0, 255)
    if light.blur:
        soft = Image.fromarray(lit.astype(np.uint8)).filter(ImageFilter.GaussianBlur(light.blur))
        lit = np.asarray(soft, np.float32)
    frame = np.clip(np.rint(lit + light.grain[..., None]), 0, 255).astype(np.uint8)
    vertical, horizontal = light.flips
    return np.ascontiguousarray(frame[:: -1 if vertical else 1, :: -1 if horizontal else 1])


def _mean_colour(picture: Picture, image: NDArray[np.uint8], light: Light) -> NDArray[np.floating]:
    vertical, horizontal = light.flips
    body = picture.body[:: -1 if vertical else 1, :: -1 if horizontal else 1]
    mean: NDArray[np.floating] = image[body].mean(axis=0)
    return mean


def colour_name(rgb: NDArray[np.floating]) -> str:
    """Name a colour (3,) in [0, 255]: a grey, a hue, or brown."""
    high, low = float(rgb.max()), float(rgb.min())
    middle, spread = float(rgb.mean()), high - low
    if spread < 0.15 * max(high, 60.0):
        return (
            "black"
            if middle < 55
            else "dark grey"
            if middle < 105
            else ("grey" if middle < 165 else "light grey")
        )
    red, green, blue = (float(level) for level in rgb)
    if high == red:
        hue = (green - blue) / spread
    elif high == green:
        hue = 2 + (blue - red) / spread
    else:
        hue = 4 + (red - green) / spread
    name = (
        "red"
        if hue < 0.25 or hue > 5.6
        else "orange"
        if hue < 0.75
        else ("yellow" if hue < 1.25 else "green" if hue < 3 else "blue" if hue < 4.5 else "purple")
    )
    return "brown" if name == "orange" and middle < 140 else name


def place_name(mask: NDArray[np.bool_]) -> str:
    """Name the third of the image in which the middle of a mask (height, width) lies."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return PLACES[1][1]
    height, width = mask.shape
    return PLACES[int(3 * rows.mean() / height)][int(3 * columns.mean() / width)]


def size_name(mask: NDArray[np.bool_]) -> str:
    """Name the size of a mask by the longer side of its box."""
    rows, columns = np.nonzero(mask)
    extent = max(np.ptp(rows), np.ptp(columns)) / len(mask) if len(rows) else 0.0
    return "small" if extent < 0.18 else "medium" if extent < 0.4 else "large"


def _shade_name(good: NDArray[np.uint8], bad: NDArray[np.uint8], mask: NDArray[np.bool_]) -> str:
    """Say whether a defect is darker or brighter than what it covers."""
    if not mask.any():
        return "faint"
    change = float((bad[mask].astype(np.float32) - good[mask]).mean())
    return "dark" if change < -12 else "bright" if change > 12 else "faint"
