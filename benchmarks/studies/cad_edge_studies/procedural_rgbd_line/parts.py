"""The parts of the line: each a height field in millimetres, and what it is made of."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from cad_edge_studies.procedural_rgbd_line.fields import Field, Plane

Colour = tuple[float, float, float]
SIXTHS = [k * np.pi / 3 for k in range(6)]  # of a turn


class PosedPart(NamedTuple):
    """A part in its pose."""

    height: Field
    """Millimetres above the tray."""
    cover: Field
    """1 where the part is, 0 where the tray is."""
    marks: Field | None = None
    """1 where the colour of marks is, if it has any."""


class Part(NamedTuple):
    """A product of the line: its shape and its albedo."""

    shape: Callable[[Plane], PosedPart]
    colour: Colour
    """RGB in 0..1."""
    grain: float
    """Deviation of the texture, as a share of the colour."""
    cells: int
    """Fineness of the texture, see `fields.noise`."""
    mark: Colour | None = None
    """Of what a part is marked with, where its shape has marks."""


def _around(radius: float, turns: Iterable[float]) -> list[tuple[float, float]]:
    """Points that far from the origin in these directions."""
    return [(radius * np.cos(turn), radius * np.sin(turn)) for turn in turns]


def _washer(at: Plane) -> PosedPart:
    cover = at.disc(0.62) - at.disc(0.27)
    middle = 1 - ((at.radius - 0.445) / 0.175) ** 2
    return PosedPart((3.0 + 1.0 * np.clip(middle, 0, 1)) * cover, cover)


def _gear(at: Plane) -> PosedPart:
    teeth = 0.56 + 0.07 * np.clip(2.5 * np.sin(14 * at.angle), -1, 1)
    cover = at.inside(teeth - at.radius) - at.disc(0.14)
    hub = at.disc(0.26)
    return PosedPart((5.0 + 2.5 * hub) * cover, cover, hub * cover)


def _bolt(at: Plane) -> PosedPart:
    head = at.polygon(0.5, SIXTHS)
    cover = np.maximum(at.disc(0.66), head)
    dome = 1.5 * np.clip(1 - (at.radius / 0.5) ** 2, 0, 1)
    return PosedPart(2.0 * cover + (5.0 + dome) * head, cover, head)


def _biscuit(at: Plane) -> PosedPart:
    cover = at.disc(0.64)
    dome = 6.0 * np.sqrt(np.clip(1.1 - (at.radius / 0.64) ** 4, 0.05, 1))
    holes = at.discs(0.05, [(0, 0), *_around(0.36, SIXTHS)])
    return PosedPart((dome - 2.0 * holes) * cover, cover, holes * cover)


def _tile(at: Plane) -> PosedPart:
    cover = at.box((0.62, 0.62))
    lines = np.minimum(np.abs(at.u * 3 % 1 - 0.5), np.abs(at.v * 3 % 1 - 0.5))
    grooves = np.clip(1 - lines / 0.05, 0, 1)
    return PosedPart((5.0 - 1.2 * grooves) * cover, cover, grooves * cover)


def _button(at: Plane) -> PosedPart:
    holes = at.discs(0.06, [(x, y) for x in (-0.12, 0.12) for y in (-0.12, 0.12)])
    cover = at.disc(0.58) - holes
    rim = at.disc(0.58) - at.disc(0.46)
    return PosedPart((3.0 + 1.8 * rim) * cover, cover, rim * cover)


def _bearing(at: Plane) -> PosedPart:
    rings = (at.disc(0.64) - at.disc(0.52)) + (at.disc(0.3) - at.disc(0.17))
    bed = at.disc(0.53) - at.disc(0.29)
    middles = _around(0.41, [k * 2 * np.pi / 9 for k in range(9)])
    away = np.min([at.distance(middle) for middle in middles], axis=0)
    balls = np.sqrt(np.clip(1 - (away / 0.1) ** 2, 0, 1))
    cover = np.clip(rings + bed, 0, 1)
    return PosedPart(7.0 * rings + bed * (2.0 + 4.5 * balls), cover, (balls > 0) * bed)


def _board(at: Plane) -> PosedPart:
    cover = at.box((0.68, 0.48))
    chips = (
        ((0.2, 0.16), (-0.3, -0.1), 3.0),
        ((0.1, 0.1), (0.2, 0.2), 2.0),
        ((0.07, 0.2), (0.5, -0.15), 4.0),
        ((0.12, 0.05), (0.1, -0.3), 2.5),
        ((0.12, 0.05), (-0.35, 0.32), 2.5),
    )
    marks = [at.box(half, centre) for half, centre, _ in chips]
    raised = [height * mark for mark, (_, _, height) in zip(marks, chips, strict=True)]
    return PosedPart((1.6 + np.max(raised, axis=0)) * cover, cover, np.max(marks, axis=0))


def _cap(at: Plane) -> PosedPart:
    cover = at.inside(0.6 + 0.03 * np.sin(21 * at.angle) - at.radius)
    top = 7.0 - 3.0 * np.clip((at.radius - 0.46) / 0.14, 0, 1)
    emblem = at.polygon(0.16, (0.5, 2.6, 4.7))
    return PosedPart((top + 0.8 * emblem) * cover, cover, emblem)


def _bracket(at: Plane) -> PosedPart:
    arms = np.maximum(at.box((0.6, 0.2), (0.0, 0.38)), at.box((0.2, 0.6), (-0.4, 0.0)))
    holes = at.discs(0.08, [(0.35, 0.38), (-0.4, -0.35)])
    ridge = np.clip(1 - np.abs(at.v - 0.38) / 0.06, 0, 1) * (at.u > -0.2) * (at.u < 0.2)
    cover = arms * (1 - holes)
    return PosedPart((4.0 + 1.5 * ridge) * cover, cover)


def _loaf(at: Plane) -> PosedPart:
    radius = np.hypot(at.u / 0.72, at.v / 0.46)
    cover = at.inside((1 - radius) * 0.5)
    dome = 11.0 * np.sqrt(np.clip(1 - radius**2, 0.02, 1))
    away = np.min([np.abs(at.u - k - 0.35 * at.v) for k in (-0.32, 0.0, 0.32)], axis=0)
    cuts = np.clip(1 - away / 0.035, 0, 1) * (np.abs(at.v) < 0.24)
    return PosedPart((dome - 1.5 * cuts) * cover, cover, cuts * cover)


def _plug(at: Plane) -> PosedPart:
    cover = at.disc(0.6)
    pins = at.discs(0.09, _around(0.3, (np.pi / 2, np.pi * 7 / 6, np.pi * 11 / 6)))
    ribs = 0.5 * np.clip(np.cos(at.radius * 55), 0, 1)
    return PosedPart((4.0 + ribs * (1 - pins) + 6.0 * pins) * cover, cover, pins)


PARTS: Mapping[str, Part] = {
    "bearing": Part(_bearing, (0.62, 0.64, 0.68), 0.03, 60, (0.8, 0.8, 0.82)),
    "biscuit": Part(_biscuit, (0.72, 0.52, 0.3), 0.07, 45, (0.5, 0.33, 0.18)),
    "board": Part(_board, (0.12, 0.4, 0.2), 0.05, 80, (0.13, 0.13, 0.14)),
    "bolt": Part(_bolt, (0.55, 0.5, 0.38), 0.05, 70, (0.62, 0.58, 0.45)),
    "bracket": Part(_bracket, (0.5, 0.53, 0.6), 0.06, 30),
    "button": Part(_button, (0.6, 0.15, 0.2), 0.03, 50, (0.68, 0.22, 0.27)),
    "cap": Part(_cap, (0.2, 0.35, 0.65), 0.03, 25, (0.85, 0.82, 0.7)),
    "gear": Part(_gear, (0.75, 0.7, 0.55), 0.04, 90, (0.66, 0.6, 0.45)),
    "loaf": Part(_loaf, (0.68, 0.42, 0.2), 0.1, 35, (0.85, 0.7, 0.48)),
    "plug": Part(_plug, (0.25, 0.25, 0.28), 0.04, 65, (0.82, 0.72, 0.42)),
    "tile": Part(_tile, (0.8, 0.76, 0.7), 0.06, 20, (0.55, 0.52, 0.5)),
    "washer": Part(_washer, (0.68, 0.68, 0.66), 0.04, 110),
}
"""By name, in the order of the line."""
