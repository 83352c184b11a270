"""Defects: what they do to a surface and to its colour, and what they show in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cad_edge_studies.procedural_rgbd_line.fields import Field, bell, noise, to_segment


@dataclass
class Surface:
    """What a defect changes."""

    height: Field
    """Millimetres above the tray."""
    albedo: Field
    """(side, side, 3) in 0..1."""
    tray: Field
    """(side, side, 3), what lies beneath."""
    cover: Field
    """1 where the part is."""

    @property
    def side(self) -> int:
        """Pixels."""
        return len(self.height)


class DefectKind(NamedTuple):
    """A kind of defect."""

    shows: Literal["rgb", "depth", "both"]
    change: Callable[[Surface, np.random.Generator], None]


def _inner(part: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """Where a mask holds at this distance in all four directions."""
    moved = [np.roll(part, step, axis) for step in (margin, -margin) for axis in (0, 1)]
    inner: NDArray[np.bool_] = np.all(moved, axis=0)
    return inner


def _one_of(where: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float]:
    """Draw a pixel (row, column) of a mask."""
    rows, columns = np.nonzero(where)
    chosen = int(rng.integers(len(rows)))
    return float(rows[chosen]), float(columns[chosen])


def _place(surface: Surface, rng: np.random.Generator, margin: int) -> tuple[float, float]:
    """Draw a pixel (row, column) of the part, if possible not nearer to its edge than a margin."""
    part = surface.cover > 0.5
    inner = part & _inner(part, margin)
    return _one_of(inner if inner.any() else part, rng)


def _distance(surface: Surface, place: tuple[float, float]) -> Field:
    """Pixels from every pixel to a place."""
    rows, columns = np.indices(surface.height.shape)
    distance: Field = np.hypot(rows - place[0], columns - place[1])
    return distance


def _bulge(surface: Surface, rng: np.random.Generator, sign: float) -> None:
    width = rng.uniform(7, 10)
    rise = sign * rng.uniform(0.7, 1.2) * bell(surface.side, _place(surface, rng, 12), width)
    surface.height += rise * surface.cover


def _stain(surface: Surface, rng: np.random.Generator) -> None:
    ragged = bell(surface.side, _place(surface, rng, 8), rng.uniform(6, 9))
    ragged = ragged + 0.12 * noise(rng, surface.side, 24)
    cover = np.clip((ragged - 0.45) * 6, 0, 1) * (ragged > 0.3)
    row, column = np.unravel_index(int(np.argmax(ragged)), ragged.shape)
    near = bell(surface.side, (float(row), float(column)), 16) > 0.3
    strength = (cover * near * surface.cover)[..., None] * rng.uniform(0.25, 0.4)
    surface.albedo *= 1 - strength * np.array([0.7, 0.9, 1.0])


def _spot(surface: Surface, rng: np.random.Generator) -> None:
    place, radius = _place(surface, rng, 6), rng.uniform(4, 6)
    within = np.clip(radius - _distance(surface, place), 0, 1)
    strength = (within * surface.cover)[..., None] * 0.6
    colour = rng.permutation([0.75, 0.45, 0.15])
    surface.albedo += strength * (colour - surface.albedo)


def _hole(surface: Surface, rng: np.random.Generator) -> None:
    place, radius = _place(surface, rng, 8), rng.uniform(4, 6.5)
    within = np.clip(radius - _distance(surface, place) + 0.5, 0, 1)
    surface.height -= within * np.minimum(surface.height, 4.0)
    surface.albedo *= 1 - 0.55 * within[..., None]


def _crack(surface: Surface, rng: np.random.Generator) -> None:
    point = np.array(_place(surface, rng, 8))
    turn, distance = rng.uniform(0, 2 * np.pi), np.full(surface.height.shape, np.inf)
    for _ in range(5):
        turn += rng.normal(0, 0.5)
        after = point + rng.uniform(5, 8) * np.array([np.sin(turn), np.cos(turn)])
        distance = np.minimum(distance, to_segment(surface.side, point, after))
        point = after
    within = np.clip(1.8 - distance, 0, 1) * surface.cover
    surface.height -= 1.2 * within
    surface.albedo *= 1 - 0.5 * within[..., None]


def _scratch(surface: Surface, rng: np.random.Generator) -> None:
    start, turn = np.array(_place(surface, rng, 8)), rng.uniform(0, 2 * np.pi)
    end = start + rng.uniform(25, 45) * np.array([np.sin(turn), np.cos(turn)])
    within = np.clip(2.0 - to_segment(surface.side, start, end), 0, 1) * surface.cover
    surface.height -= 0.8 * within
    surface.albedo += 0.35 * within[..., None] * (0.9 - surface.albedo)


def _missing(surface: Surface, rng: np.random.Generator) -> None:
    part = surface.cover > 0.5
    around = _distance(surface, _one_of(part & ~_inner(part, 3), rng))
    ragged = around + 1.5 * noise(rng, surface.side, 40)
    gone = np.clip(rng.uniform(11, 15) - ragged, 0, 1) * (around < 22)
    surface.height *= 1 - gone
    surface.albedo += gone[..., None] * (surface.tray - surface.albedo)


DEFECTS: Mapping[str, DefectKind] = {
    "bump": DefectKind("depth", partial(_bulge, sign=1.0)),
    "crack": DefectKind("both", _crack),
    "dent": DefectKind("depth", partial(_bulge, sign=-1.0)),
    "hole": DefectKind("both", _hole),
    "missing": DefectKind("both", _missing),
    "scratch": DefectKind("both", _scratch),
    "spot": DefectKind("rgb", _spot),
    "stain": DefectKind("rgb", _stain),
}
"""By name, in alphabetical order."""
