"""Frames: what the caller hands over, checked and brought to the engines' size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cad_edge.errors import ImageError
from cad_edge.image import Frame, ImageRecipe, as_rgb, decode_depth, decode_image
from cad_edge_runtime.session import Array

Picture: TypeAlias = NDArray[Any] | Path | str
"""An array as ``cad_edge.image.as_rgb`` takes it, or an image file."""

Depth: TypeAlias = NDArray[Any] | Path | str
"""(h, w) float32 in the sensor's units with 0 for no measurement, or a 16-bit grey image file."""


@dataclass(frozen=True)
class FrameInput:
    """One checked frame."""

    rgb: Frame
    depth: NDArray[np.float32] | None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the original frame."""
        return self.rgb.shape[0], self.rgb.shape[1]


def read_frame(image: Picture, depth: Depth | None) -> FrameInput:
    """Check and decode; ImageError says what is wrong with which input."""
    rgb = decode_image(Path(image)) if isinstance(image, (str, Path)) else as_rgb(image)
    if depth is None:
        return FrameInput(rgb, None)
    plane = decode_depth(Path(depth)) if isinstance(depth, (str, Path)) else depth
    if not isinstance(plane, np.ndarray) or plane.ndim != 2 or plane.dtype != np.float32:
        found = (
            f"{plane.dtype} of shape {plane.shape}" if isinstance(plane, np.ndarray) else "no array"
        )
        raise ImageError(f"the depth is {found}; give a (height, width) float32 array")
    if not np.isfinite(plane).all():
        raise ImageError(
            "the depth holds NaN or infinite values; give 0 where nothing was measured"
        )
    if plane.shape != rgb.shape[:2]:
        raise ImageError(
            f"the depth is {plane.shape[1]}x{plane.shape[0]} px but the image is "
            f"{rgb.shape[1]}x{rgb.shape[0]} px; register them to one size"
        )
    return FrameInput(rgb, plane)


def image_batch(frames: Sequence[FrameInput], recipe: ImageRecipe) -> Array:
    """(batch, height, width, 3) uint8 at the recipe's size; one fitting frame is not copied."""
    if len(frames) == 1:
        return recipe.apply(frames[0].rgb)[None]
    return np.stack([recipe.apply(frame.rgb) for frame in frames])


def depth_batch(frames: Sequence[FrameInput], recipe: ImageRecipe, owner: str) -> Array:
    """(batch, height, width) float32 at the recipe's size, by the nearest measurement.

    Neighbours are not averaged: 0 means that nothing was measured, not a distance.
    """
    planes = [frame.depth for frame in frames]
    if any(plane is None for plane in planes):
        raise ImageError(f"{owner} inspects depth as well; give depth= with the image")
    return np.stack([_nearest(plane, recipe) for plane in planes if plane is not None])


def _nearest(plane: NDArray[np.float32], recipe: ImageRecipe) -> NDArray[np.float32]:
    if plane.shape == (recipe.height, recipe.width):
        return plane
    rows = (np.arange(recipe.height) * 2 + 1) * plane.shape[0] // (2 * recipe.height)
    columns = (np.arange(recipe.width) * 2 + 1) * plane.shape[1] // (2 * recipe.width)
    picked: NDArray[np.float32] = plane[rows[:, None], columns[None, :]]
    return picked
