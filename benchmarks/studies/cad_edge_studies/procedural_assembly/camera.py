"""Light and camera: a soft box from above and from the left, a lamp opposite, a lens, a sensor."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cad_edge.data.image import Frame
from cad_edge_studies.procedural_assembly.surfaces import FINER, PITCH, SIDE, Surface, smooth
from cad_edge_studies.procedural_rgbd_line.fields import Field

READ_NOISE, SHOT_NOISE = 1.4, 0.11  # levels; levels per root of a level
_STEEP = 2.0  # mm of light's fall per mm of way: what is high throws a shadow half as long
_STEPS = 22  # points that a shadow reaches at most
_BLUR = 0.55  # pixels, of the lens


class Light(NamedTuple):
    """How this tray is lit."""

    turn: float
    """Radians, where the soft box stands."""
    power: float
    tint: NDArray[np.float64]
    """(3,)."""


def draw_light(rng: np.random.Generator) -> Light:
    """Draw the light: within 4 degrees, 7 % of power and 1.5 % of tint."""
    turn = np.deg2rad(220 + rng.uniform(-4, 4))
    return Light(float(turn), float(rng.uniform(0.93, 1.07)), 1 + rng.normal(0, 0.008, 3))


def expose(surface: Surface, light: Light) -> Field:
    """Return the image without noise: (SIDE, SIDE, 3), levels in 0..255."""
    seen = _shade(surface, light)
    binned = seen.reshape(SIDE, FINER, SIDE, FINER, 3).mean(axis=(1, 3))
    sharp = gaussian_filter(binned, (_BLUR, _BLUR, 0), truncate=3.0)
    rows, columns = np.indices((SIDE, SIDE)) / SIDE - 0.5
    vignette = 1 - 0.28 * (rows**2 + columns**2)
    linear = sharp * (light.power * vignette)[..., None] * light.tint
    levels: Field = 255 * (1 - np.exp(-1.35 * linear)) ** (1 / 2.2)
    return levels


def sense(levels: Field, rng: np.random.Generator) -> Frame:
    """Return what the sensor makes of an image: (SIDE, SIDE, 3) uint8 with its noise."""
    deviation = np.hypot(READ_NOISE, SHOT_NOISE * np.sqrt(levels))
    noisy = levels + rng.normal(0, 1, levels.shape) * deviation
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _shadow(height: Field, turn: float) -> Field:
    """1 where the soft box is hidden, soft where far from what hides it."""
    hidden = np.zeros_like(height)
    for step in range(1, _STEPS + 1, 2):
        aside = (round(step * -np.sin(turn)), round(step * -np.cos(turn)))
        over = np.roll(height, aside, (0, 1)) - step * PITCH * _STEEP - height
        np.maximum(hidden, np.clip(over / (0.25 + 0.05 * step) + 0.3, 0, 1), out=hidden)
    return hidden


def _around(x: Field, y: Field, z: Field, light: Light, gloss: Field) -> Field:
    """Brightness of the surroundings in a direction, the more blurred the less gloss there is."""
    blur = 0.08 + 0.55 * (1 - gloss)
    toward = x * np.cos(light.turn) + y * np.sin(light.turn)
    across = -x * np.sin(light.turn) + y * np.cos(light.turn)
    box = smooth((0.34 - np.abs(toward - 0.5)) / blur + 0.5)
    box = box * smooth((0.62 - np.abs(across)) / blur + 0.5)
    lamp = smooth((0.12 - np.abs(toward + 0.62)) / blur + 0.5)
    lamp = lamp * smooth((0.7 - np.abs(across - 0.1)) / blur + 0.5)
    ceiling = 0.34 + 0.22 * toward + 0.10 * z
    up = smooth(z / blur / 2 + 0.5)
    bright: Field = 0.10 + up * (ceiling + 3.2 * box + 1.1 * lamp - 0.10)
    return np.maximum(bright, 0.03)


def _shade(surface: Surface, light: Light) -> Field:
    down, right = np.gradient(surface.height, PITCH)
    z = 1 / np.sqrt(1 + down**2 + right**2)
    x, y = -right * z, -down * z
    hollow = np.zeros_like(z)  # how deep a point lies among what is near it
    for near, depth in ((0.5, 1.0), (1.5, 2.6)):  # mm
        mean = gaussian_filter(surface.height, near / PITCH, truncate=2.0)
        hollow += np.clip(mean - surface.height, 0, None) / depth
    open_sky = 1 / (1 + 1.1 * hollow)
    lit = 1 - _shadow(surface.height, light.turn)
    toward = x * np.cos(light.turn) + y * np.sin(light.turn)
    key = np.clip((z * _STEEP + toward) / np.hypot(_STEEP, 1), 0, 1)
    fall = 0.72 * key * lit + open_sky * (0.20 + 0.18 * z)
    mirrored = _around(2 * z * x, 2 * z * y, 2 * z * z - 1, light, surface.gloss)
    mirrored = mirrored * open_sky * (0.45 + 0.55 * lit)
    skin = (0.04 + 0.5 * surface.gloss * (1 - z) ** 5) * surface.gloss * 2.2
    metal = surface.metal[..., None]
    plastic = surface.albedo * (fall * 1.45)[..., None] + (skin * mirrored)[..., None]
    bare: Field = metal * surface.albedo * mirrored[..., None] * 1.25 + (1 - metal) * plastic
    return bare
