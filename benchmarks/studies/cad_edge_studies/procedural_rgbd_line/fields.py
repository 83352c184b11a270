"""Fields over the image plane that surfaces are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float64]
"""(side, side)."""


@dataclass(frozen=True)
class Plane:
    """Coordinates of an object that lies turned, shifted and scaled under the camera.

    The image spans -1..1; an object is drawn as if it were at the origin, upright and of size 1.
    """

    u: Field
    v: Field

    @property
    def radius(self) -> Field:
        """Distance from the origin."""
        return self.distance((0.0, 0.0))

    def distance(self, place: tuple[float, float]) -> Field:
        """Distance from a place."""
        return np.hypot(self.u - place[0], self.v - place[1])

    @property
    def angle(self) -> Field:
        """Of the direction from the origin, radians."""
        return np.arctan2(self.v, self.u)

    @property
    def pixel(self) -> float:
        """Size of a pixel in these units."""
        return float(np.hypot(self.u[0, 1] - self.u[0, 0], self.v[0, 1] - self.v[0, 0]))

    def inside(self, distance: Field) -> Field:
        """Where a signed distance is positive: 0 to 1 over an edge of two pixels."""
        inside: Field = np.clip(distance / (2 * self.pixel) + 0.5, 0.0, 1.0)
        return inside

    def disc(self, radius: float, centre: tuple[float, float] = (0.0, 0.0)) -> Field:
        """Return 1 within a disc, 0 outside."""
        return self.inside(radius - self.distance(centre))

    def discs(self, radius: float, centres: Sequence[tuple[float, float]]) -> Field:
        """Return 1 within any of some discs, 0 outside."""
        union: Field = np.max([self.disc(radius, centre) for centre in centres], axis=0)
        return union

    def polygon(self, inner: float, turns: Sequence[float]) -> Field:
        """Return 1 within a polygon whose sides lie ``inner`` away in these directions."""
        sides = [self.u * np.cos(turn) + self.v * np.sin(turn) for turn in turns]
        return self.inside(inner - np.max(sides, axis=0))

    def box(self, half: tuple[float, float], centre: tuple[float, float] = (0.0, 0.0)) -> Field:
        """Return 1 within an upright rectangle of half sizes ``half``, 0 outside."""
        return self.inside(
            np.minimum(half[0] - np.abs(self.u - centre[0]), half[1] - np.abs(self.v - centre[1]))
        )


def plane_of(rng: np.random.Generator, side: int) -> Plane:
    """Draw a pose: shifts up to 4 % of the image, any turn up to 20 degrees, sizes within 4 %."""
    turn = np.deg2rad(rng.uniform(-20, 20))
    shift, size = rng.uniform(-0.08, 0.08, 2), rng.uniform(0.96, 1.04)
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(axis - shift[0], axis - shift[1])
    cosine, sine = np.cos(turn) / size, np.sin(turn) / size
    return Plane(cosine * x + sine * y, cosine * y - sine * x)


def smooth_noise(
    rng: np.random.Generator, side: int, rows: int, columns: int | None = None
) -> NDArray[np.float32]:
    """Noise (side, side), smooth between ``rows`` x ``columns`` cells of unit deviation."""
    cells = rng.standard_normal((rows, columns or rows)).astype(np.float32)
    return np.asarray(Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC))


def noise(rng: np.random.Generator, side: int, cells: int) -> Field:
    """Smooth noise of about unit deviation with features of 1 / ``cells`` of the image."""
    return smooth_noise(rng, side, cells).astype(np.float64) * 1.3


def bell(side: int, centre: tuple[float, float], width: float) -> Field:
    """Gaussian bell of height 1 around a pixel (row, column), ``width`` pixels wide."""
    rows, columns = np.indices((side, side))
    distance = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
    field: Field = np.exp(-distance / (2 * width**2))
    return field


def to_segment(side: int, start: NDArray[np.float64], end: NDArray[np.float64]) -> Field:
    """Distance in pixels of every pixel to the segment between two points (row, column)."""
    grid = np.moveaxis(np.indices((side, side)), 0, -1).astype(np.float64)
    along = end - start
    share = np.clip(((grid - start) @ along) / max(float(along @ along), 1e-9), 0, 1)
    field: Field = np.linalg.norm(grid - (start + share[..., None] * along), axis=-1)
    return field
