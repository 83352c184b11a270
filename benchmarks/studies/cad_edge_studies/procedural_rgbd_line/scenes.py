"""Scenes: a part on its tray, as camera and depth sensor see it.

The sensor looks down from 500 mm; the image spans 100 mm. Light comes from above and a little from
one side, so that a gentle slope hardly shows in the image. Depth is what the sensor measures, with
noise, gaps at steep edges and some elsewhere, in steps of 0.01 mm.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.depth import Plane as DepthPlane
from cad_edge.data.image import Frame
from cad_edge_studies.procedural_rgbd_line.defects import DEFECTS, Surface
from cad_edge_studies.procedural_rgbd_line.fields import Field, noise, plane_of
from cad_edge_studies.procedural_rgbd_line.parts import PARTS, Part

SIDE = 224  # pixels
DISTANCE = 500.0  # mm from sensor to tray
STEP = 0.01  # mm, of the sensor's numbers
DEPTH_NOISE = 0.08  # mm
IMAGE_NOISE = 2.0  # levels of 255
FROM_SIDE = 0.15  # share of the light that comes from the left and above the image
_SPAN = 100.0  # mm
_TRAY = (0.42, 0.43, 0.45)
_STEEP = 1.2  # mm of height per mm: beyond it most measurements fail
_GAPS = 0.002  # share of measurements that fail anywhere
# What the mask holds differs from the same part without its defect by more than this.
_SEEN_LEVELS, _SEEN_DEPTH = 10.0, 0.3


class Scene(NamedTuple):
    """One part as it is seen."""

    rgb: Frame
    """(side, side, 3) uint8."""
    depth: DepthPlane
    """(side, side) float32 mm, 0 for no measurement."""
    mask: NDArray[np.bool_]
    """(side, side), where the defect is; all False for a good part."""
    defect: str | None
    """One of `DEFECTS`, which says what it shows in; None for a good part."""


class NoiselessScene(NamedTuple):
    """A surface as it would be seen without noise."""

    levels: NDArray[Any]
    """(side, side, 3) float64 in 0..255."""
    depth: Field
    """mm."""


def render(name: str, seeds: tuple[int, ...], defect: str | None = None, side: int = SIDE) -> Scene:
    """Render one part.

    Parameters
    ----------
    name
        One of `PARTS`.
    seeds
        All that is drawn is a function of them; with and without a defect it is the same part.
    defect
        One of `DEFECTS`, or None.
    side
        Pixels of a square image. Parts fill the same share of it at any size; defects are as
        many pixels large, and so are made for `SIDE`.
    """
    surface = _surface(PARTS[name], np.random.default_rng([*seeds, 0]), side)
    good = _ideal(surface)
    shown, mask = good, np.zeros((side, side), dtype=np.bool_)
    if defect is not None:
        DEFECTS[defect].change(surface, np.random.default_rng([*seeds, 1]))
        shown = _ideal(surface)
        mask = difference(shown, good)
    return Scene(*_sensed(shown, np.random.default_rng([*seeds, 2])), mask, defect)


def difference(one: NoiselessScene, other: NoiselessScene) -> NDArray[np.bool_]:
    """Where two surfaces differ in what can be seen of them, (side, side)."""
    levels = np.abs(one.levels - other.levels).max(axis=-1) > _SEEN_LEVELS
    seen: NDArray[np.bool_] = levels | (np.abs(one.depth - other.depth) > _SEEN_DEPTH)
    return seen


def _surface(part: Part, rng: np.random.Generator, side: int) -> Surface:
    body = part.shape(plane_of(rng, side))
    tint = 1 + rng.normal(0, 0.02, 3)
    fine, coarse = noise(rng, side, part.cells), noise(rng, side, part.cells // 4 + 2)
    grain = 1 + part.grain * (0.7 * fine + 0.5 * coarse)
    own = np.array(part.colour)
    if body.marks is not None and part.mark is not None:
        own = own + body.marks[..., None] * (np.array(part.mark) - own)
    tray = np.array(_TRAY) * (1 + 0.02 * noise(rng, side, 50))[..., None]
    cover = body.cover[..., None]
    albedo = cover * own * tint * grain[..., None] + (1 - cover) * tray
    return Surface(body.height.copy(), albedo, tray, body.cover)


def _ideal(surface: Surface) -> NoiselessScene:
    pitch = _SPAN / surface.side
    down, right = np.gradient(surface.height, pitch)
    length = np.sqrt(1 + down**2 + right**2)
    from_side = (1 + 0.8 * (right + down)) / length / 1.5
    light = (1 - FROM_SIDE) / length + FROM_SIDE * np.clip(from_side, 0, 1.5)
    levels = 255 * np.clip(surface.albedo * light[..., None], 0, 1)
    return NoiselessScene(levels, DISTANCE - surface.height)


def _sensed(ideal: NoiselessScene, rng: np.random.Generator) -> tuple[Frame, DepthPlane]:
    noisy = ideal.levels + rng.normal(0, IMAGE_NOISE, ideal.levels.shape)
    rgb = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    pitch = _SPAN / len(ideal.depth)
    steep = np.hypot(*np.gradient(ideal.depth, pitch))
    measured = ideal.depth + rng.normal(0, DEPTH_NOISE, ideal.depth.shape)
    fails = rng.random(ideal.depth.shape) < np.where(steep > _STEEP, 0.6, _GAPS)
    steps = np.rint(np.where(fails, 0, measured) / STEP)
    return rgb, (steps * STEP).astype(np.float32)
