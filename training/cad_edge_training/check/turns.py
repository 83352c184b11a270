"""Turns of a picture: mirrored, by quarters, by a few degrees, as offline augmentation does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cad_edge_training.check.contrast_pyramid import (
    COARSE,
    MIDDLE,
    SIDE,
    ContrastPyramid,
    contrast_of,
)
from cad_edge_training.check.registration import Plane, Registration

INNER = 16  # a 16th of each side is left out, where a turned picture shows what it was filled with

EXACT = 0.12  # degrees below which a turn is none


@dataclass(frozen=True)
class Turn:
    """How a picture is turned so that it lies as another one does."""

    mirrored: bool = False
    """Left and right, before all else."""
    quarters: int = 0
    """Of a full turn, counter-clockwise."""
    degrees: float = 0.0
    """Counter-clockwise, after that."""

    @property
    def upright(self) -> bool:
        """Whether the picture stays as it is."""
        return self == Turn()

    def after(self, other: "Turn") -> "Turn":
        """Return the turn that lays a picture of this turn as one of the other was before it."""
        sign = -1 if other.mirrored else 1
        degrees = sign * (self.degrees - other.degrees)
        return Turn(
            self.mirrored != other.mirrored,
            sign * (self.quarters - other.quarters) % 4,
            0.0 if abs(degrees) < EXACT else degrees,
        )

    def inverse(self) -> "Turn":
        """Return the turn that undoes it, where it is either degrees or one of `FLIPS`."""
        if self.mirrored:
            return self
        return Turn(quarters=-self.quarters % 4, degrees=-self.degrees)

    def by(self, degrees: float) -> "Turn":
        """Turn by further degrees."""
        return Turn(self.mirrored, self.quarters, self.degrees + degrees)

    def words(self) -> str:
        """Say it."""
        said = ["mirrored"] if self.mirrored else []
        if self.quarters:
            said.append(f"turned by {90 * self.quarters} degrees")
        if self.degrees:
            said.append(f"turned by {self.degrees:.1f} degrees")
        return ", ".join(said)


@dataclass(frozen=True)
class TurnedFit:
    """How a picture lies in another once it is turned."""

    turn: Turn
    fit: Registration


UPRIGHT = Turn()
FLIPS = tuple(Turn(mirrored, quarters) for mirrored in (False, True) for quarters in range(4))
"""The eight ways in which a square lies on itself, the first upright."""
SMALL_TURNS = tuple(Turn(degrees=sign * size) for size in (1.5, 3.0, 5.0) for sign in (-1, 1))
TURNS = (*FLIPS, *SMALL_TURNS)
"""Of the coarse search, upright first; degrees between them are found by refinement."""


def turned(plane: Plane, turn: Turn, aspect: float, order: int = 3) -> Plane:
    """Turn a picture that was made square.

    Parameters
    ----------
    plane
        (side, side).
    turn
        How.
    aspect
        Height of the picture by its width, before it was made square: what lies outside is
        continued from the border.
    order
        Of the interpolation.
    """
    moved = np.rot90(plane[:, ::-1] if turn.mirrored else plane, turn.quarters)
    if turn.degrees == 0.0:
        return np.ascontiguousarray(moved)
    height = 1 / aspect if turn.quarters % 2 else aspect
    angle = np.deg2rad(turn.degrees)
    matrix = np.array(
        [
            [np.cos(angle), np.sin(angle) / height],
            [-np.sin(angle) * height, np.cos(angle)],
        ]
    )
    middle = np.full(2, (len(plane) - 1) / 2)
    result: Plane = ndimage.affine_transform(
        moved, matrix, middle - matrix @ middle, order=order, mode="nearest"
    )
    return result


def turned_contrast(picture: ContrastPyramid, turn: Turn, side: int) -> Plane:
    """Contrast (side, side) of the picture turned, at one of the three scales."""
    if turn.degrees:
        return contrast_of(turned(picture.grey_at(side), turn, picture.aspect))
    upright = {COARSE: "coarse", MIDDLE: "middle", SIDE: "fine"}[side]
    return turned(getattr(picture, upright), turn, picture.aspect)


def inner(plane: NDArray[np.float32]) -> Plane:
    """Return a plane (side, side) without what a turn may have filled."""
    cut = len(plane) // INNER
    return np.ascontiguousarray(plane[cut:-cut, cut:-cut])
