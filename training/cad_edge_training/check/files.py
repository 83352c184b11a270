"""Reading every image of a product once: what each shows, and which cannot be read."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from cad_edge.data.image import Frame, ImageRecipe, as_rgb, decode_pixels
from cad_edge.errors import ImageError
from cad_edge_training.check.contrast_pyramid import ContrastPyramid

MOST_PIXELS = 500_000  # of an image that exposure is measured on
BLACK, WHITE = 0, 255
FLAT = 1.0  # grey levels that pixels deviate by: a sensor under its cap reaches that
_DEPTHS = {"u1": "", "u2": " 16 bit", "f4": " float"}
_CHANNELS = {1: "grey", 3: "colour", 4: "colour with alpha"}


@dataclass(frozen=True)
class ImageSource:
    """An image that is to be looked at, and what its place in the product is."""

    path: Path
    learned: bool
    """Whether it is for training."""
    label: str
    """``good`` or the kind of defect."""
    part: int
    """Number of the part that it shows; views of one part share it."""
    mask: Path | None = None


@dataclass(frozen=True)
class DecodedImage:
    """What a file showed once it was decoded."""

    source: ImageSource
    size: tuple[int, int]
    """(height, width)"""
    mode: str
    """Kind of pixels, for example ``grey 16 bit``."""
    digest: str
    """sha256 of the decoded pixels."""
    mean: float
    """Mean brightness in grey levels, 0 to 255."""
    black: float
    """Share of pixels that are black in all channels."""
    white: float
    """Share of pixels with a channel at its end."""
    flat: bool
    """Whether it shows nothing: its pixels are equal, or differ by less than noise does."""
    contrast: ContrastPyramid
    pixels: Frame | None
    """At the recipe of the backbone, for training images where there is one."""


@dataclass(frozen=True)
class UnreadableImage:
    """A file that gave no image, and why."""

    source: ImageSource
    reason: str


ImageReading: TypeAlias = DecodedImage | UnreadableImage


def decode_images(
    sources: Sequence[ImageSource], recipe: ImageRecipe | None, done: Callable[[int], None]
) -> list[ImageReading]:
    """Decode images, several at a time.

    Parameters
    ----------
    sources
        What to read.
    recipe
        Size at which pixels of training images are kept; None: they are not.
    done
        Called with the number of images read so far.
    """
    found: list[ImageReading] = []
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as readers:
        for one in readers.map(lambda source: _decode(source, recipe), sources):
            found.append(one)
            done(len(found))
    return found


def _decode(source: ImageSource, recipe: ImageRecipe | None) -> ImageReading:
    try:
        pixels = decode_pixels(source.path)
        rgb = as_rgb(pixels)
    except ImageError as problem:
        return UnreadableImage(source, str(problem).removeprefix(f"{source.path} "))
    step = max(1, int((rgb.shape[0] * rgb.shape[1] / MOST_PIXELS) ** 0.5))
    sample = rgb[::step, ::step]
    brightest = sample.max(axis=2)
    return DecodedImage(
        source=source,
        size=(rgb.shape[0], rgb.shape[1]),
        mode=_mode(pixels),
        digest=hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes()).hexdigest(),
        mean=float(sample.mean()),
        black=float((brightest == BLACK).mean()),
        white=float((brightest == WHITE).mean()),
        flat=_flat(sample),
        contrast=ContrastPyramid(rgb),
        pixels=recipe.apply(rgb) if recipe is not None and source.learned else None,
    )


def _flat(sample: Frame) -> bool:
    """Whether no channel deviates by `FLAT`; most images are told by a few of their pixels."""
    few = sample[::4, ::4].reshape(-1, 3)
    if few.std(axis=0).max() >= 2 * FLAT:
        return False
    return bool(sample.reshape(-1, 3).std(axis=0).max() < FLAT)


def _mode(pixels: NDArray[Any]) -> str:
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    return _CHANNELS[channels] + _DEPTHS[pixels.dtype.str[1:]]
