"""Seeded structural defects: what is there is good, but not where it is.

`synthetic` damages a part locally. Here every piece of the image is one of a good part, and what is
wrong is the arrangement: a region holds what belongs elsewhere, two regions have changed places, or
one has moved. Of many draws the one is taken whose content changes most and whose border shows
least, so that on a part with distinct elements an element goes, comes or moves. A texture has no
arrangement; on it such a defect is none, and no method can find it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.image import Frame
from cad_edge.errors import ImageError
from cad_edge_training.synthetic import require_images

DRAWS = 512  # pairs of regions that are looked at for each defect
SMALLEST, LARGEST = 0.01, 0.1  # area of a region, as a share of the image
COARSE = 48  # cells of the shorter side at which they are compared
BORDER = 8  # the border of a region is this part of its side, at either edge

Box = tuple[int, int]
"""Top and left of a region."""
Pair = tuple[Box, Box]
"""Where a region is filled, and where that is taken from."""
Kind = Callable[[Frame, Frame, np.random.Generator], tuple[Frame, NDArray[np.bool_]]]


def structural_defects(
    images: NDArray[np.uint8], others: NDArray[np.uint8], seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Give every image one defect; the kinds take turns.

    Parameters
    ----------
    images
        (n, height, width, 3) uint8 RGB of good parts; not changed.
    others
        Of the same shape: for each image another good part of the product.
    seed
        Equal seeds give equal defects.

    Returns
    -------
    tuple
        Images (n, height, width, 3) uint8, and masks (n, height, width) bool of the regions that
        hold other content than before.

    Raises
    ------
    ImageError
        ``images`` is not uint8 of that shape, a side is under 8 px, or ``others`` has another
        shape.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    >>> changed, masks = structural_defects(images, images[::-1], seed=0)
    >>> changed.shape, masks.any(axis=(1, 2)).all()
    ((3, 32, 32, 3), True)
    """
    require_images(images)
    if others.shape != images.shape or others.dtype != images.dtype:
        raise ImageError(
            f"the other parts are {others.dtype} of shape {others.shape}; give them as the images, "
            f"{images.dtype} of shape {images.shape}"
        )
    changed = np.empty_like(images)
    masks = np.empty(images.shape[:3], np.bool_)
    for index, (image, other) in enumerate(zip(images, others, strict=True)):
        rng = np.random.default_rng((seed, index))
        kind = STRUCTURAL[index % len(STRUCTURAL)]
        changed[index], masks[index] = kind(image, other, rng)
    return changed, masks


def replaced(
    image: Frame, other: Frame, rng: np.random.Generator
) -> tuple[Frame, NDArray[np.bool_]]:
    """Fill a region from elsewhere on another good part: an element goes, or comes twice.

    Parameters
    ----------
    image, other
        (height, width, 3) uint8 RGB.
    rng
        Source of all choices.

    Returns
    -------
    tuple
        Image (height, width, 3) uint8 and mask (height, width) bool.
    """
    size, (target, source) = _region(image, other, rng, _anywhere)
    return _pasted(image, size, [(target, other, source)])


def swapped(
    image: Frame, other: Frame, rng: np.random.Generator
) -> tuple[Frame, NDArray[np.bool_]]:
    """Let two regions of the part change places; parameters and result as in `replaced`."""
    size, (first, second) = _region(image, image, rng, _anywhere)
    return _pasted(image, size, [(first, image, second), (second, image, first)])


def displaced(
    image: Frame, other: Frame, rng: np.random.Generator
) -> tuple[Frame, NDArray[np.bool_]]:
    """Fill a region from nearby on another part, as if it had moved; as in `replaced`."""
    size, (target, source) = _region(image, other, rng, _nearby)
    return _pasted(image, size, [(target, other, source)])


STRUCTURAL: tuple[Kind, ...] = (replaced, swapped, displaced)


def _anywhere(size: Box, room: Box, rng: np.random.Generator) -> Pair:
    """Draw two places whose regions do not overlap."""
    target, source = rng.integers(0, np.add(room, 1), (2, 2))
    while (np.abs(target - source) < size).all():
        target, source = rng.integers(0, np.add(room, 1), (2, 2))
    return (int(target[0]), int(target[1])), (int(source[0]), int(source[1]))


def _nearby(size: Box, room: Box, rng: np.random.Generator) -> Pair:
    """Draw two places at most half a side apart."""
    target = rng.integers(0, np.add(room, 1))
    most = np.maximum(np.array(size) // 2, 1)
    source = np.clip(target + rng.integers(-most, most + 1), 0, room)
    return (int(target[0]), int(target[1])), (int(source[0]), int(source[1]))


def _region(
    image: Frame,
    source: Frame,
    rng: np.random.Generator,
    draw: Callable[[Box, Box, np.random.Generator], Pair],
) -> tuple[Box, Pair]:
    """Size and places, in pixels, of the draw that changes most within and least at its border."""
    step = -(-min(image.shape[:2]) // COARSE)
    old, new = _coarse(image, step), _coarse(source, step)
    best, found = -1.0, ((1, 1), ((0, 0), (0, 0)))
    for _ in range(DRAWS):
        size = _size(old.shape[:2], rng)
        room = old.shape[0] - size[0], old.shape[1] - size[1]
        target, origin = draw(size, room, rng)
        change = (new[_slices(origin, size)] - old[_slices(target, size)]) ** 2
        inner = _opacity(size) == 1
        # Squared grey levels; the 1 keeps what shows nowhere at the border comparable.
        gain = change[inner].mean() / (1 + change[~inner].mean()) if not inner.all() else 0.0
        if gain > best:
            best, found = float(gain), (size, (target, origin))
    (rows, columns), (target, origin) = found
    places = (target[0] * step, target[1] * step), (origin[0] * step, origin[1] * step)
    return (rows * step, columns * step), places


def _size(room: tuple[int, ...], rng: np.random.Generator) -> Box:
    """Draw height and width of a region in an image of height and width ``room``."""
    area = rng.uniform(SMALLEST, LARGEST) * room[0] * room[1]
    aspect = np.exp(rng.uniform(np.log(1 / 3), np.log(3)))
    rows, columns = np.sqrt(area * aspect), np.sqrt(area / aspect)
    return int(np.clip(rows, 3, room[0] // 2)), int(np.clip(columns, 3, room[1] // 2))


def _slices(place: Box, size: Box) -> tuple[slice, slice]:
    return slice(place[0], place[0] + size[0]), slice(place[1], place[1] + size[1])


def _coarse(image: Frame, step: int) -> NDArray[np.float32]:
    """Mean of every ``step`` x ``step`` pixels; what is left over at the edge is left out."""
    rows, columns = image.shape[0] // step, image.shape[1] // step
    whole = image[: rows * step, : columns * step].astype(np.float32)
    found: NDArray[np.float32] = whole.reshape(rows, step, columns, step, 3).mean(axis=(1, 3))
    return found


def _opacity(size: Box) -> NDArray[np.float32]:
    """(height, width) float32: 1 within, falling towards the edge over the border."""
    ramps = []
    for side in size:
        distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
        ramps.append(np.minimum(distance / max(1, side // BORDER), 1))
    return np.minimum.outer(*ramps).astype(np.float32)


def _pasted(
    image: Frame, size: Box, pieces: list[tuple[Box, Frame, Box]]
) -> tuple[Frame, NDArray[np.bool_]]:
    """Lay regions of images over others, with soft edges."""
    opacity = _opacity(size)
    out, mask = image.copy(), np.zeros(image.shape[:2], np.bool_)
    for place, source, origin in pieces:
        target = _slices(place, size)
        piece = source[_slices(origin, size)].astype(np.float32)
        mixed = image[target] + (piece - image[target]) * opacity[..., None]
        out[target] = np.rint(mixed).astype(np.uint8)
        mask[target] |= opacity >= 0.5
    return out, mask
