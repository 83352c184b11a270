"""Frames: what the caller hands over, checked and brought to the engines' size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.depth import to_size
from cad_edge.data.depth_files import decode_depth
from cad_edge.data.image import MAXIMUM_PIXELS, Frame, ImageRecipe, as_rgb, decode_image
from cad_edge.errors import ImageError, OptionError
from cad_edge_runtime.session import Array

Picture: TypeAlias = NDArray[Any] | Path | str
"""An array as ``cad_edge.data.image.as_rgb`` takes it, or an image file."""

Sample: TypeAlias = Picture | Sequence[Picture]
"""A picture; or all views of a part, in their order, for a bundle that looks at several."""

Depth: TypeAlias = NDArray[Any] | Path | str
"""(h, w) float32 in the sensor's units with 0 for no measurement, or a file as
``cad_edge.data.depth_files`` reads it."""


@dataclass(frozen=True)
class FrameInput:
    """One checked frame."""

    rgb: Frame
    """Of several views the first."""

    depth: NDArray[np.float32] | None
    more: tuple[Frame, ...] = ()
    """The other views."""

    @property
    def views(self) -> tuple[Frame, ...]:
        """All views."""
        return (self.rgb, *self.more)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the original frame."""
        return self.rgb.shape[0], self.rgb.shape[1]


def read_frame(
    image: Sample, depth: Depth | None, views: int = 1, max_pixels: int = MAXIMUM_PIXELS
) -> FrameInput:
    """Check and decode a frame of ``views`` views.

    Parameters
    ----------
    image, depth
        As the caller gave them.
    views
        How many pictures make one frame.
    max_pixels
        How many pixels each of them may have.

    Raises
    ------
    ImageError
        There are more or fewer views, an input cannot be used, which the message names, or there
        is not enough memory.
    """
    with _enough_memory():
        rgb, *more = _read_views(_pictures(image, views), max_pixels)
        if depth is None:
            return FrameInput(rgb, None, tuple(more))
        if more:
            raise ImageError("a frame of several views has no depth; leave depth out")
        return FrameInput(rgb, _read_depth(depth, rgb, max_pixels))


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Say that there is too little memory as an ImageError, which ends one frame and no run."""
    try:
        yield
    except MemoryError:
        raise ImageError(
            "there is not enough memory for the frame; give the process more, or smaller images"
        ) from None


def _read_depth(depth: Depth, rgb: Frame, max_pixels: int) -> NDArray[np.float32]:
    plane = decode_depth(Path(depth), max_pixels) if isinstance(depth, (str, Path)) else depth
    if not isinstance(plane, np.ndarray) or plane.ndim != 2 or plane.dtype != np.float32:
        found = (
            f"{plane.dtype!s:.60} of shape {plane.shape}"
            if isinstance(plane, np.ndarray)
            else f"a {type(plane).__name__:.60}, no array"
        )
        raise ImageError(f"the depth is {found}; give a (height, width) float32 array")
    if isinstance(plane, np.ma.MaskedArray):
        raise ImageError("the depth is a masked array; give 0 where nothing was measured")
    plane = np.asarray(plane)
    if plane.shape != rgb.shape[:2]:
        raise ImageError(
            f"the depth is {plane.shape[1]}x{plane.shape[0]} px but the image is "
            f"{rgb.shape[1]}x{rgb.shape[0]} px; register them to one size"
        )
    if not np.isfinite(plane).all():
        raise ImageError(
            "the depth holds NaN or infinite values; give 0 where nothing was measured"
        )
    if (plane < 0).any():
        raise ImageError("the depth holds negative values; give 0 where nothing was measured")
    return plane


def frames_of_batch(
    images: Sequence[Sample], depths: Sequence[Depth | None] | None
) -> tuple[Sequence[Sample], Sequence[Depth | None]]:
    """Check that a batch can be counted and taken by number; each frame is checked when it is read.

    Returns
    -------
    Images, and as many depths.

    Raises
    ------
    OptionError
        Images or depths are no sequence, as a generator or a single path.
    ImageError
        There are more or fewer depths than images.
    """
    for name, given in (("images", images), ("depths", () if depths is None else depths)):
        if not _is_sequence(given, arrays=True):
            raise OptionError(
                f"{name} is a {type(given).__name__:.60}; give a list with an item for each frame"
            )
    planes: Sequence[Depth | None] = [None] * len(images) if depths is None else depths
    if len(planes) != len(images):
        raise ImageError(f"{len(planes)} depths were given for {len(images)} images; give equal")
    return images, planes


def _is_sequence(given: object, arrays: bool = False) -> TypeGuard[Sequence[Any]]:
    """Whether something is a list or the like, and not a text or a buffer."""
    if isinstance(given, np.ndarray):
        return arrays and given.ndim > 0
    return isinstance(given, Sequence) and not isinstance(
        given, (str, bytes, bytearray, memoryview, range)
    )


def _pictures(image: Sample, views: int) -> Sequence[Picture]:
    """Return the views one by one; what is no sequence of pictures is taken for a picture."""
    given: Sequence[Picture] = [image]  # type: ignore[list-item]
    if isinstance(image, Sequence) and _is_sequence(image):
        several = all(isinstance(one, (np.ndarray, str, Path)) for one in image)
        given = image if several else given
    if len(given) == views:
        return given
    found = "1 picture was" if len(given) == 1 else f"{len(given)} pictures were"
    if views == 1:
        raise ImageError(f"{found} given as one frame, and the bundle looks at one; give one")
    raise ImageError(
        f"{found} given as one frame, and the bundle looks at {views} views of every part; give a "
        f"sequence of {views} pictures"
    )


def _read_views(pictures: Sequence[Picture], max_pixels: int) -> list[Frame]:
    found: list[Frame] = []
    for number, one in enumerate(pictures):
        try:
            rgb = (
                decode_image(Path(one), max_pixels)
                if isinstance(one, (str, Path))
                else as_rgb(one, max_pixels)
            )
        except ImageError as problem:
            if len(pictures) == 1:
                raise
            raise ImageError(f"view {number}: {problem}") from None
        found.append(rgb)
    return found


def image_batch(frames: Sequence[FrameInput], recipe: ImageRecipe) -> Array:
    """(batch * views, height, width, 3) uint8 at the recipe's size, the views of a frame together.

    One fitting frame of one view is not copied.
    """
    shown = [view for frame in frames for view in frame.views]
    with _enough_memory():
        if len(shown) == 1:
            return recipe.apply(shown[0])[None]
        return np.stack([recipe.apply(view) for view in shown])


def depth_batch(frames: Sequence[FrameInput], recipe: ImageRecipe, owner: str) -> Array:
    """(batch, height, width) float32 at the recipe's size; ImageError where a frame has none."""
    planes = [frame.depth for frame in frames]
    if any(plane is None for plane in planes):
        raise ImageError(f"{owner} inspects depth as well; give depth= with the image")
    return np.stack([to_size(plane, recipe) for plane in planes if plane is not None])
