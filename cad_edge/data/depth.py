"""Depth: measurements of a registered sensor, and what becomes of them before a network sees them.

A depth plane is (h, w) float32 in the sensor's own units; 0 says that nothing was measured there.
One implementation serves training, calibration and the device.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import ImageError
from cad_edge.schema import Record

Plane: TypeAlias = NDArray[np.float32]
"""(h, w) float32, 0 for no measurement."""

TAILS = (0.5, 99.5)  # percentiles between which the range of a product's measurements lies
# How many spans beside the range a measurement may lie: a dent or a raised edge does, another unit
# does not.
MARGIN = 3.0
SHARE = 0.5  # of the measurements that have to lie there


class DepthRange(Record):
    """Where the measurements of a product's good parts lie, in the sensor's units."""

    low: float = Field(gt=0, description="0.5th percentile over all training images")
    high: float = Field(gt=0, description="99.5th percentile; above low")

    def require(self, plane: Plane, owner: str) -> None:
        """Raise ImageError where a plane was not measured as those of training were.

        Parameters
        ----------
        plane
            Of one frame.
        owner
            Whose range this is, for the message.
        """
        measured = plane[plane > 0]
        if not measured.size:
            raise ImageError(f"the depth holds no measurement, and {owner} inspects depth as well")
        room = MARGIN * (self.high - self.low)
        inside = (measured > self.low - room) & (measured < self.high + room)
        if inside.mean() < SHARE:
            middle = float(np.median(measured))
            raise ImageError(
                f"the depth lies around {middle:.4g}, and that of {owner} between {self.low:.4g} "
                f"and {self.high:.4g}; give it in the units and from the distance it was learned in"
            )


def range_of(planes: Iterable[Plane]) -> DepthRange:
    """Take the range from training images.

    Parameters
    ----------
    planes
        Depth of good parts, each with a measurement.

    Raises
    ------
    ImageError
        All measurements are one value.
    """
    measured = np.concatenate([plane[plane > 0] for plane in planes])
    low, high = (float(value) for value in np.percentile(measured, TAILS))
    if not low < high:
        raise ImageError(
            f"every depth measurement of the good parts is {low:.4g}; give depth images that show "
            "the part"
        )
    return DepthRange(low=low, high=high)


def to_size(plane: NDArray[Any], recipe: ImageRecipe) -> Plane:
    """Bring a plane to (height, width) of a recipe, by the nearest measurement.

    Neighbours are not averaged: 0 means that nothing was measured, not a distance.
    """
    if plane.shape == (recipe.height, recipe.width):
        return plane
    rows = (np.arange(recipe.height) * 2 + 1) * plane.shape[0] // (2 * recipe.height)
    columns = (np.arange(recipe.width) * 2 + 1) * plane.shape[1] // (2 * recipe.width)
    picked: Plane = plane[rows[:, None], columns[None, :]]
    return picked
