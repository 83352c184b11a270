"""The six kinds of items, each a height field in millimetres and what it is made of."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cad_edge_studies.procedural_assembly.layout import COLOURS, Item
from cad_edge_studies.procedural_assembly.surfaces import (
    FINER,
    SIDE,
    Material,
    Pose,
    Surface,
    smooth,
    window,
)
from cad_edge_studies.procedural_rgbd_line.fields import Field, Plane, smooth_noise

SCREW = 26.0  # mm long
WASHER = 5.0  # mm, radius
NUT = 3.5  # mm from the middle to a side
SPRING = 22.0  # mm long
CAP = 10.0  # mm, radius
LABEL = (8.5, 11.5)  # mm, half width and half height

_STEEL = Material((0.60, 0.59, 0.57), 1.0, 0.75)
_ZINC = Material((0.66, 0.67, 0.70), 1.0, 0.6)
_BRASS = Material((0.74, 0.52, 0.22), 1.0, 0.7)
_WIRE = Material((0.50, 0.50, 0.52), 1.0, 0.8)
_PAPER = Material((0.72, 0.71, 0.68), 0.0, 0.12)
_DOTS = 12  # of a label's print, per mm


class Body(NamedTuple):
    """An item in its pose, over its window."""

    cover: Field
    """1 where the item is."""
    height: Field
    """mm above the floor of the bay."""
    material: Material
    albedo: Field | None = None
    """(rows, columns, 3), linear, if it is not that of the material."""


def _lengthwise(at: Plane) -> Plane:
    """Coordinates whose u runs down a long item."""
    return Plane(at.v, -at.u)


def _screw(at: Plane, item: Item, rng: np.random.Generator) -> Body:
    at = _lengthwise(at)
    tip, neck = SCREW / 2, -SCREW / 2 + 2.7
    root = 1.25 * np.clip((tip - at.u) / 4.5, 0.02, 1)
    around = np.arcsin(np.clip(at.v / 1.8, -1, 1)) / (2 * np.pi)
    turn = (at.u / 1.35 + around + rng.random()) % 1
    thread = 0.55 * np.clip(1 - np.abs(turn - 0.5) * 3.4, 0, 1) * np.clip((tip - at.u) / 4, 0.1, 1)
    shank = (root + thread * (at.u > neck + 1.0)) * (at.u > neck - 0.2) * (at.u < tip)
    dome = 3.0 * np.sqrt(np.clip(1 - ((at.u - neck) / 2.7) ** 4, 0, 1)) * (at.u <= neck)
    radius = np.maximum(shank, dome)
    axis = 3.0 - 2.2 * (at.u - neck) / (tip - neck)  # it lies on its head and its tip
    height = axis + np.sqrt(np.clip(radius**2 - at.v**2, 0, None))
    return Body(at.inside(radius - np.abs(at.v)) * (radius > 0), height, _STEEL)


def _washer(at: Plane, item: Item, rng: np.random.Generator) -> Body:
    radius = at.radius
    edge = np.minimum(WASHER - radius, radius - 2.6)
    turned = np.interp(radius, np.linspace(0, 6, 80), rng.normal(0, 1, 80))
    lean = rng.normal(0, 0.03, 2)
    height = 1.1 + 0.006 * turned + lean[0] * at.u + lean[1] * at.v
    height -= 0.45 * (1 - np.sqrt(np.clip(edge / 0.5, 0, 1)))
    tone = 1 + 0.05 * turned[..., None] * np.ones(3)
    return Body(at.inside(edge), height, _ZINC, np.array(_ZINC.colour) * tone)


def _nut(at: Plane, item: Item, rng: np.random.Generator) -> Body:
    radius, turns = at.radius, np.arange(6) * np.pi / 3
    sides = np.max([at.u * np.cos(turn) + at.v * np.sin(turn) for turn in turns], axis=0)
    lean = rng.normal(0, 0.025, 2)
    height = 3.6 + lean[0] * at.u + lean[1] * at.v
    height = height - 0.55 * np.clip(radius - 3.3, 0, None)  # turned corners
    height -= 1.1 * np.clip(2.6 - radius, 0, None)
    height -= 0.25 * np.cos((radius - 1.8) * 2 * np.pi / 0.28) * (radius < 2.1)
    return Body(at.inside(np.minimum(NUT - sides, radius - 1.8)), height, _BRASS)


def _spring(at: Plane, item: Item, rng: np.random.Generator) -> Body:
    """Roll a ball along the wire: what it leaves is the tube."""
    at = _lengthwise(at)
    wire, coil, turns = 0.48, 2.2, 9.5
    phase = np.linspace(0, turns, int(turns * 48))
    lift = np.interp(phase, (0, 1, turns - 1, turns), (0, 0.055, 0.945, 1))  # ends lie closed
    along = (lift - 0.5) * (SPRING - 2 * wire)
    angle = 2 * np.pi * (phase + rng.random())
    height = np.full(at.u.shape, -1.0)
    for u, v, z in zip(along, coil * np.cos(angle), coil * (1 + np.sin(angle)) + wire, strict=True):
        near = (np.abs(at.u - u) < wire) & (np.abs(at.v - v) < wire)
        ball = np.clip(wire**2 - (at.u[near] - u) ** 2 - (at.v[near] - v) ** 2, 0, None)
        height[near] = np.where(ball > 0, np.maximum(height[near], z + np.sqrt(ball)), height[near])
    return Body((height > 0).astype(np.float64), height, _WIRE)


def _cap(at: Plane, item: Item, rng: np.random.Generator) -> Body:
    radius, side = at.radius, CAP - 0.25 + 0.25 * np.cos(44 * at.angle)
    height = 6.8 * np.sqrt(smooth((side - radius) / 1.5))
    height -= 0.3 * smooth((7.9 - radius) / 0.5)
    height += 0.35 * np.clip(1.4 - np.abs(radius - 5.4) / 0.25, 0, 1)
    height += 0.4 * at.polygon(1.5, (np.pi / 2, np.pi * 7 / 6, np.pi * 11 / 6))
    height -= 0.006 * radius**2
    height += 0.003 * smooth_noise(rng, max(at.u.shape), 40)[: at.u.shape[0], : at.u.shape[1]]
    return Body(at.inside(side - radius), height, Material(_colour(item), 0.0, 0.7))


@cache
def _print(colour: str) -> NDArray[np.float64]:
    """Return the print of a label (rows, columns, 3): ink is what takes light from the paper."""
    size = (int(2 * LABEL[0] * _DOTS), int(2 * LABEL[1] * _DOTS))
    sheet = Image.new("RGB", size, (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    ink = (14, 14, 16)
    band = tuple(int(255 * min(1.0, share / _PAPER.colour[0])) for share in COLOURS[colour])
    pen.rectangle((0, 0, size[0], 84), fill=band)
    pen.text((12, 14), "KIT 204", (245, 245, 240), ImageFont.load_default(size=48))
    for row, (text, height) in enumerate((("4 x ST3.5", 26), ("2 x 5.3", 26), ("3 x M4", 26))):
        pen.text((14, 92 + 32 * row), text, ink, ImageFont.load_default(size=height))
    pen.ellipse((150, 112, 186, 148), outline=ink, width=4)
    pen.line((156, 142, 180, 118), fill=ink, width=4)
    widths, x = np.random.default_rng(204).integers(3, 9, 40), 16
    for bar, gap in zip(widths[::2], widths[1::2], strict=True):
        if x + bar < size[0] - 14:
            pen.rectangle((x, 194, x + int(bar) - 1, 242), fill=ink)
        x += int(bar + gap)
    pen.text((40, 247), "7 014204 318", ink, ImageFont.load_default(size=20))
    return np.asarray(sheet) / 255.0


def _label(at: Plane, item: Item, rng: np.random.Generator) -> Body:
    assert item.colour is not None
    printed = _print(item.colour)
    rows = np.clip((at.v + LABEL[1]) * _DOTS, 0, len(printed) - 1).astype(int)
    columns = np.clip((at.u + LABEL[0]) * _DOTS, 0, printed.shape[1] - 1).astype(int)
    curl, bend = rng.uniform(-0.003, 0.004), rng.normal(0, 0.006, 2)
    height = 0.6 + curl * at.v**2 + bend[0] * at.u + bend[1] * at.v
    height += 0.02 * np.sin(at.u / 2.5 + at.v / 4 + rng.uniform(0, 6))
    return Body(at.box(LABEL), height, _PAPER, printed[rows, columns] * np.array(_PAPER.colour))


def _colour(item: Item) -> tuple[float, float, float]:
    assert item.colour is not None
    return COLOURS[item.colour]


_SHAPES: Mapping[str, tuple[Callable[[Plane, Item, np.random.Generator], Body], float]] = {
    "screw": (_screw, 16.0),
    "washer": (_washer, 7.0),
    "nut": (_nut, 6.0),
    "spring": (_spring, 13.0),
    "cap": (_cap, 11.5),
    "label": (_label, 16.5),
}
"""How each kind is drawn, and how far from its middle it reaches, mm."""


def draw_item(surface: Surface, item: Item, pose: Pose) -> Field:
    """Lay an item onto the surface.

    Returns
    -------
    Field
        (rows, columns) of the surface, 1 where the item is.
    """
    shape, reach = _SHAPES[item.kind]
    where, at = window(*pose(item.x, item.y), item.turn + pose.turn, reach)
    rng = np.random.default_rng(item.seed)
    body = shape(at, item, rng)
    own = np.array(body.material.colour) if body.albedo is None else body.albedo
    tint = 1 + rng.normal(0, 0.025)
    surface.lay(where, body.cover, body.height, body.material, own * tint)
    covered = np.zeros((SIDE * FINER, SIDE * FINER))
    covered[where] = body.cover
    return covered
