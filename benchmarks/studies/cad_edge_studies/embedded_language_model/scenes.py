"""Seeded images of good and defective parts, and what can be said about them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cad_edge_studies.embedded_language_model.defects import DEFECTS, add_defect
from cad_edge_studies.embedded_language_model.parts import part
from cad_edge_studies.embedded_language_model.surfaces import SIDE, board, noise, surface

SMALLEST = 60  # changed pixels below which a defect is drawn again, since nobody could see it
TRIES = 6
PLAIN, SUBTLE = 1.0, 0.45
PLACES = (
    *("upper left", "upper middle", "upper right"),
    *("middle left", "centre", "middle right"),
    *("lower left", "lower middle", "lower right"),
)
# What a value below the number is called.
GREYS = ((55, "black"), (105, "dark grey"), (165, "grey"), (256, "light grey"))
HUES = (
    (0.25, "red"),
    (0.75, "orange"),
    (1.25, "yellow"),
    (3, "green"),
    (4.5, "blue"),
    (6, "purple"),
)


class DefectDescription(NamedTuple):
    """What is said of a defect."""

    kind: str
    place: str
    size: str
    shade: str


class DescribedScene(NamedTuple):
    """An image and what is true of it."""

    image: NDArray[np.uint8]
    """(SIDE, SIDE, 3) uint8 RGB."""
    name: str
    colour: str
    defect: DefectDescription | None
    mask: NDArray[np.bool_]
    """(SIDE, SIDE) bool: what the defect changed by some grey levels."""


class Lighting(NamedTuple):
    """What the camera does to a part; both images of a pair get the same."""

    gain: NDArray[np.float32]
    """(SIDE, SIDE) float32 factor."""
    blur: float
    grain: NDArray[np.float32]
    """(SIDE, SIDE) float32 grey levels."""
    steps: tuple[int, int]
    """In which direction the camera reads rows and columns, 1 or -1."""

    def flipped(self, array: NDArray[Any]) -> NDArray[Any]:
        """See (SIDE, SIDE, ...) as the camera does, upside down and mirrored or not."""
        return array[:: self.steps[0], :: self.steps[1]]

    def photograph(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Image (SIDE, SIDE, 3) uint8 of pixels (SIDE, SIDE, 3) float32."""
        lit = np.clip(pixels * self.gain[..., None], 0, 255)
        if self.blur:
            soft = Image.fromarray(lit.astype(np.uint8)).filter(ImageFilter.GaussianBlur(self.blur))
            lit = np.asarray(soft, np.float32)
        frame = np.clip(np.rint(lit + self.grain[..., None]), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(self.flipped(frame))


def scene_pairs(seed: int, first: int, pairs: int) -> list[DescribedScene]:
    """Scenes of so many pairs, each good one before the defective one."""
    return [scene for index in range(first, first + pairs) for scene in scene_pair(seed, index)]


def scene_pair(seed: int, index: int) -> tuple[DescribedScene, DescribedScene]:
    """Draw one part twice under the same light, good and then with a defect.

    Equal ``seed`` and ``index`` give equal scenes, whatever was drawn before.
    """
    rng = np.random.default_rng((seed, index))
    draw = rng.random()
    picture = surface(rng) if draw < 0.55 else part(rng) if draw < 0.9 else board(rng)
    for _ in range(TRIES):
        kind = str(rng.choice(list(DEFECTS)))
        pixels, mask = add_defect(picture, kind, rng.uniform(SUBTLE, PLAIN), rng)
        if mask.sum() >= SMALLEST:
            break
    light = _light(rng)
    good, bad = light.photograph(picture.pixels), light.photograph(pixels)
    seen = light.flipped(mask)
    colour = colour_name(good[light.flipped(picture.body)].mean(axis=0))
    shade = _shade_name(good, bad, seen)
    defect = DefectDescription(kind, place_name(seen), size_name(seen), shade)
    intact = DescribedScene(good, picture.name, colour, None, np.zeros_like(seen))
    return intact, intact._replace(image=bad, defect=defect, mask=seen)


def _light(rng: np.random.Generator) -> Lighting:
    gain = rng.uniform(0.75, 1.2) * (1 + rng.uniform(0, 0.12) * noise(rng, 2))
    blur = rng.uniform(0.3, 1.3) if rng.random() < 0.5 else 0.0
    grain = rng.normal(0, rng.uniform(0, 6), (SIDE, SIDE)).astype(np.float32)
    steps = (-1 if rng.random() < 0.5 else 1, -1 if rng.random() < 0.5 else 1)
    return Lighting(gain.astype(np.float32), blur, grain, steps)


def colour_name(rgb: NDArray[np.floating]) -> str:
    """Name a colour (3,) in [0, 255]: a grey, a hue, or brown."""
    high, middle, spread = float(rgb.max()), float(rgb.mean()), float(np.ptp(rgb))
    if spread < 0.15 * max(high, 60.0):
        return next(name for limit, name in GREYS if middle < limit)
    first = int(rgb.argmax())
    hue = 2 * first + (float(rgb[first - 2]) - float(rgb[first - 1])) / spread
    name = next(name for limit, name in HUES if hue < limit)
    return "brown" if name == "orange" and middle < 140 else name


def place_name(mask: NDArray[np.bool_]) -> str:
    """Name the third of the image in which the middle of a mask (height, width) lies."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return "centre"
    height, width = mask.shape
    return PLACES[3 * int(3 * rows.mean() / height) + int(3 * columns.mean() / width)]


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
