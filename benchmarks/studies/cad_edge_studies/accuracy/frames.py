"""Test images of a stream in memory, at the size that the graphs take.

The same images are judged many times over (once per stage, once per product left out). A frame that
has the recipe's size already is not resized again, so it scores as its file does. Where graphs take
several sizes the frames stay in their files, since at their own size they may fill the memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from cad_edge.data.image import Frame, ImageRecipe, decode_image
from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import Stream


@dataclass(frozen=True)
class ProductFrames:
    """Test images of one task: ``frames[n]`` (height, width, 3) uint8, ``anomalous`` (n,) bool."""

    frames: Sequence[Frame]
    anomalous: npt.NDArray[np.bool_]


class FramesInFiles(Sequence[Frame]):
    """Frames at their own size, decoded anew whenever they are looked at."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)

    def __len__(self) -> int:
        """Count the files."""
        return len(self._paths)

    @overload
    def __getitem__(self, place: int) -> Frame: ...

    @overload
    def __getitem__(self, place: slice) -> "FramesInFiles": ...

    def __getitem__(self, place: int | slice) -> "Frame | FramesInFiles":
        """Decode one file, or take some of them."""
        if isinstance(place, slice):
            return FramesInFiles(self._paths[place])
        return decode_image(self._paths[place])


def read_frames(stream: Stream, recipe: ImageRecipe | None) -> dict[str, ProductFrames]:
    """Decode every test image of ``stream`` and bring it to ``recipe``, by task.

    Without a recipe, which is where graphs take several sizes, they stay `FramesInFiles`.
    """
    return {task.name: _read(task.images().test, recipe) for task in stream.tasks}


def _read(items: tuple[LabelledImage, ...], recipe: ImageRecipe | None) -> ProductFrames:
    anomalous = np.array([item.anomalous for item in items], dtype=np.bool_)
    paths = [item.path for item in items]
    if recipe is None:
        return ProductFrames(FramesInFiles(paths), anomalous)
    return ProductFrames(tuple(recipe.apply(decode_image(path)) for path in paths), anomalous)
