"""The surface of the scene: heights and what they are made of, and the empty tray on its belt."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cad_edge_studies.procedural_assembly.layout import BAYS, Bay
from cad_edge_studies.procedural_rgbd_line.fields import Field, Plane, noise

SIDE = 320  # pixels
FINER = 2  # the surface is drawn this much finer and averaged
PITCH = 104.0 / (SIDE * FINER)  # mm from point to point of the surface
RIM = 7.0  # mm from the floors of the bays to the top of the tray
TRAY = Bay(-47.5, -47.5, 47.5, 47.5)  # the tray's outline
_PLASTIC = (0.115, 0.125, 0.14)
_BELT = (0.055, 0.085, 0.075)


class Pose(NamedTuple):
    """How the tray lies under the camera."""

    x: float
    """mm to the right."""
    y: float
    """mm down."""
    turn: float
    """Radians."""

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the tray is in the image, mm from its middle."""
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        return float(cosine * x - sine * y + self.x), float(sine * x + cosine * y + self.y)


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose: up to 1 mm (3 pixels) aside, up to 1 degree turned."""
    x, y, degrees = rng.uniform(-1, 1, 3)
    return Pose(float(x), float(y), float(np.deg2rad(degrees)))


class Material(NamedTuple):
    """What a surface is made of."""

    colour: tuple[float, float, float]
    """Linear albedo."""
    metal: float
    """1 reflects its surroundings in its colour, 0 scatters light beneath a clear skin."""
    gloss: float
    """0 is matt, 1 a mirror."""


@dataclass
class Surface:
    """What the camera looks at; `PITCH` from point to point."""

    height: Field
    """(rows, columns) mm above the floors of the bays."""
    albedo: Field
    """(rows, columns, 3), linear."""
    metal: Field
    gloss: Field

    def lay(
        self, where: tuple[slice, slice], cover: Field, height: Field, of: Material, albedo: Field
    ) -> None:
        """Lay something over a part of the surface, where ``cover`` is 1."""
        for field, new in ((self.height, height), (self.metal, of.metal), (self.gloss, of.gloss)):
            field[where] += cover * (new - field[where])
        self.albedo[where] += cover[..., None] * (albedo - self.albedo[where])


def window(x: float, y: float, turn: float, reach: float) -> tuple[tuple[slice, slice], Plane]:
    """Return the points nearer than ``reach`` mm to a place, and their coordinates about it.

    Parameters
    ----------
    x, y
        mm from the middle of the image.
    turn
        Radians by which the coordinates are turned.
    reach
        mm, in both directions.
    """
    count = SIDE * FINER
    spans = []
    for middle in (y, x):
        first, last = ((middle + sign * reach) / PITCH + count / 2 for sign in (-1, 1))
        spans.append(slice(max(int(first), 0), min(int(last) + 1, count)))
    axis = (np.arange(count) + 0.5 - count / 2) * PITCH
    right, down = np.meshgrid(axis[spans[1]] - x, axis[spans[0]] - y)
    cosine, sine = np.cos(turn), np.sin(turn)
    return (spans[0], spans[1]), Plane(cosine * right + sine * down, cosine * down - sine * right)


def smooth(share: Field) -> Field:
    """Rise smoothly from 0 at 0 to 1 at 1."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def _within(at: Plane, box: Bay, corner: float) -> Field:
    """Distance in mm from the edge of a box about the origin, positive inside, corners round."""
    u = np.abs(at.u) - (box.right - box.left) / 2 + corner
    v = np.abs(at.v) - (box.bottom - box.top) / 2 + corner
    outside = np.hypot(np.maximum(u, 0), np.maximum(v, 0))
    inside: Field = corner - outside - np.minimum(np.maximum(u, v), 0)
    return inside


def _belt(rng: np.random.Generator) -> Surface:
    """Draw the belt, which runs beneath the camera and is not posed as the tray is."""
    count = SIDE * FINER
    wave = np.sin(2 * np.pi * np.arange(count) * PITCH / 1.1 + rng.uniform(0, 6, (2, 1)))
    weave = np.outer(wave[0], wave[1])
    albedo = np.array(_BELT) * (1 + 0.2 * weave + 0.12 * noise(rng, count, 24))[..., None]
    return Surface(0.03 * weave - 4.0, albedo, np.zeros_like(weave), np.full_like(weave, 0.15))


def empty_tray(pose: Pose, rng: np.random.Generator) -> Surface:
    """Draw the tray without items, on its belt."""
    surface, side = _belt(rng), SIDE * FINER
    grain, dust = noise(rng, side, side // 2), noise(rng, side, 16)
    shade = 1 + 0.06 * noise(rng, side, 7) + 0.04 * noise(rng, side, 70) + 0.02 * grain
    everywhere, at = window(pose.x, pose.y, pose.turn, side * PITCH)
    edge = _within(at, TRAY, 5.0)
    height = RIM - 5.0 * (1 - smooth(edge / 1.3))
    for bay in BAYS.values():
        middle = pose((bay.left + bay.right) / 2, (bay.top + bay.bottom) / 2)
        where, at = window(*middle, pose.turn, 24.0)
        hollow = smooth(_within(at, bay, 3.0) / 1.8 + 0.25)
        height[where] -= RIM * hollow + _pins(at, bay)
        shade[where] += 0.06 * hollow * dust[where]  # it gathers on floors
    height += 0.008 * grain
    plastic = Material(_PLASTIC, 0.0, 0.32)
    albedo = np.array(_PLASTIC) * shade[..., None]
    cover = np.clip(edge / (2 * PITCH) + 0.5, 0, 1)
    surface.lay(everywhere, cover, height, plastic, albedo)
    return surface


def _pins(at: Plane, bay: Bay) -> Field:
    """Depth of the rings that ejector pins have left in two corners of a bay, mm."""
    x, y = (bay.right - bay.left) / 2 - 5, (bay.bottom - bay.top) / 2 - 4.5
    rings = [
        np.clip(1 - np.abs(at.distance(corner) - 1.6) / 0.25, 0, 1) for corner in ((-x, y), (x, -y))
    ]
    depth: Field = 0.07 * np.max(rings, axis=0)
    return depth
