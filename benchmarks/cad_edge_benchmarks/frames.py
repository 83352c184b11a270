"""Test images of a stream in memory, at the size that the graphs take.

The same images are judged many times over (once per stage, once per product left out). A frame that
has the recipe's size already is not resized again, so it scores as its file does.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cad_edge.dataset import LabelledImage
from cad_edge.image import Frame, ImageRecipe, decode_image
from cad_edge.stream import Stream


@dataclass(frozen=True)
class ProductFrames:
    """Test images of one task: ``frames[n]`` (height, width, 3) uint8, ``anomalous`` (n,) bool."""

    frames: tuple[Frame, ...]
    anomalous: npt.NDArray[np.bool_]


def read_frames(stream: Stream, recipe: ImageRecipe) -> dict[str, ProductFrames]:
    """Decode and resize every test image of ``stream``, by task."""
    return {task.name: _read(task.images().test, recipe) for task in stream.tasks}


def _read(items: tuple[LabelledImage, ...], recipe: ImageRecipe) -> ProductFrames:
    frames = tuple(recipe.apply(decode_image(item.path)) for item in items)
    return ProductFrames(frames, np.array([item.anomalous for item in items], dtype=np.bool_))
