"""Seeded synthetic defects on images of good parts, with the masks of what was changed.

Three kinds take turns, so that a set of any size holds all of them: a piece of the image pasted
elsewhere (after CutPaste, Li et al., CVPR 2021), a scratch and a blot. They stand in for defects
where no real ones may be used: choosing normalisation, certificates, the demo.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cad_edge.data.image import MINIMUM_SIDE, Frame
from cad_edge.errors import ImageError

OVERSAMPLING = 4  # strokes are drawn this much larger, then averaged, for smooth edges
VISIBLE = 0.3  # opacity from which a pixel counts as defect
HIDING = 0.6  # share of the texture that a scratch or blot hides
SMALLEST_STEP, LARGEST_STEP = 40, 90  # grey levels by which a defect differs from what it covers

Opacity = NDArray[np.float32]
"""(height, width) float32 in [0, 1]."""


def synthetic_defects(
    images: NDArray[np.uint8], seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Give every image one defect; image i depends on its pixels, ``seed`` and i only.

    Parameters
    ----------
    images
        (n, height, width, 3) uint8 RGB; not changed.
    seed
        Equal seeds give equal defects.

    Returns
    -------
    tuple
        Images (n, height, width, 3) uint8 and masks (n, height, width) bool. Outside its mask an
        image may differ faintly, by the soft edge of the defect.

    Raises
    ------
    ImageError
        ``images`` is not uint8 of that shape, or a side is under 8 px.
    """
    require_images(images)
    damaged = np.empty_like(images)
    masks = np.empty(images.shape[:3], np.bool_)
    for index, image in enumerate(images):
        rng = np.random.default_rng((seed, index))
        damaged[index], masks[index] = KINDS[index % len(KINDS)](image, rng)
    return damaged, masks


def require_images(images: NDArray[np.uint8]) -> None:
    """Raise ImageError unless (n, height, width, 3) uint8 with sides of at least 8 px."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ImageError(
            f"the images are {images.dtype} of shape {images.shape}; "
            "give (n, height, width, 3) uint8"
        )
    if len(images) and min(images.shape[1:3]) < MINIMUM_SIDE:
        raise ImageError(
            f"the images are {images.shape[2]}x{images.shape[1]} px; "
            f"give at least {MINIMUM_SIDE} px a side"
        )


def cut_paste(image: Frame, rng: np.random.Generator) -> tuple[Frame, NDArray[np.bool_]]:
    """Paste a rectangle of the image elsewhere, mirrored and made brighter or darker.

    Parameters
    ----------
    image
        (height, width, 3) uint8 RGB.
    rng
        Source of all choices.

    Returns
    -------
    tuple
        Image (height, width, 3) uint8 and mask (height, width) bool.
    """
    height, width = image.shape[:2]
    area = rng.uniform(0.01, 0.05) * height * width
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    rows = int(np.clip(np.sqrt(area * aspect), 2, height // 2))
    columns = int(np.clip(np.sqrt(area / aspect), 2, width // 2))
    from_y, to_y = rng.integers(0, height - rows + 1, size=2)
    from_x, to_x = rng.integers(0, width - columns + 1, size=2)
    patch = image[from_y : from_y + rows, from_x : from_x + columns][::-1, ::-1]
    # A plain copy is invisible on a regular texture, and then nothing could be learned from it.
    shade = _shade(patch, rng)
    out, mask = image.copy(), np.zeros((height, width), np.bool_)
    target = (slice(to_y, to_y + rows), slice(to_x, to_x + columns))
    out[target] = np.clip(patch.astype(np.int16) + shade, 0, 255).astype(np.uint8)
    mask[target] = True
    return out, mask


def scratch(image: Frame, rng: np.random.Generator) -> tuple[Frame, NDArray[np.bool_]]:
    """Draw a thin wandering line; parameters and result as in `cut_paste`."""
    height, width = image.shape[:2]
    side = min(height, width)
    path = wandering_line(rng)
    path *= rng.uniform(0.25, 0.6) * side / len(path)
    centre = rng.uniform(0.3, 0.7, size=2) * (width, height)
    points = (path - path.mean(axis=0) + centre) * OVERSAMPLING
    thickness = max(1.2, rng.uniform(0.006, 0.015) * side) * OVERSAMPLING

    def draw(pen: ImageDraw.ImageDraw) -> None:
        corners = [(float(x), float(y)) for x, y in points]
        pen.line(corners, fill=255, width=round(thickness), joint="curve")

    return _cover(image, stroke((height, width), draw), rng)


def wandering_line(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the way of a scratch: (12, 2) float64, x and y after steps of length 1."""
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.15, 12))
    way: NDArray[np.float64] = np.stack((np.cos(heading), np.sin(heading)), axis=1).cumsum(axis=0)
    return way


def blot(image: Frame, rng: np.random.Generator) -> tuple[Frame, NDArray[np.bool_]]:
    """Stain an irregular round area; parameters and result as in `cut_paste`."""
    height, width = image.shape[:2]
    side = min(height, width)
    radius = max(1.5, rng.uniform(0.04, 0.11) * side)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = np.arange(2, 6)
    bumps = rng.normal(0, 0.25 / waves) @ np.cos(
        waves[:, None] * angles + rng.uniform(0, 2 * np.pi, (len(waves), 1))
    )
    radii = radius * np.clip(1 + bumps, 0.5, 1.6)
    centre = rng.uniform(0.2, 0.8, size=2) * (width, height)
    outline = np.stack((np.cos(angles), np.sin(angles)), axis=1) * radii[:, None] + centre

    def draw(pen: ImageDraw.ImageDraw) -> None:
        pen.polygon([(float(x), float(y)) for x, y in outline * OVERSAMPLING], fill=255)

    return _cover(image, stroke((height, width), draw, softness=0.15 * radius), rng)


KINDS: tuple[Callable[[Frame, np.random.Generator], tuple[Frame, NDArray[np.bool_]]], ...] = (
    cut_paste,
    scratch,
    blot,
)


def stroke(
    size: tuple[int, int],
    draw: Callable[[ImageDraw.ImageDraw], None],
    softness: float = 0.0,
    oversampling: int = OVERSAMPLING,
) -> Opacity:
    """Opacity (height, width) of what ``draw`` paints so much larger; ``softness`` in pixels."""
    height, width = size
    canvas = Image.new("L", (width * oversampling, height * oversampling))
    draw(ImageDraw.Draw(canvas))
    small = canvas.reduce(oversampling)
    if softness:
        small = small.filter(ImageFilter.GaussianBlur(softness))
    opacity: Opacity = np.asarray(small, np.float32) / np.float32(255)
    return opacity


def _cover(
    image: Frame, opacity: Opacity, rng: np.random.Generator
) -> tuple[Frame, NDArray[np.bool_]]:
    """Tint the image under a stroke and tell which pixels changed visibly."""
    mask: NDArray[np.bool_] = opacity >= VISIBLE
    mask |= opacity >= opacity.max()  # a stroke thinner than a pixel still marks its core
    covered = image[mask]
    # Dirt hides some of the texture below it; a mere shift of brightness drowns in coarse gravel.
    change = _shade(covered, rng) + HIDING * (covered.mean(axis=0) - image)
    out = np.clip(np.rint(image + change * opacity[..., None]), 0, 255).astype(np.uint8)
    return out, mask


def _shade(covered: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int16]:
    """Grey levels (3,) int16 to add to covered (..., 3): away from the nearer end of the range."""
    step = rng.uniform(SMALLEST_STEP, LARGEST_STEP) * rng.uniform(0.8, 1.0, size=3)
    mean = float(covered.mean())
    room = (255 - LARGEST_STEP, LARGEST_STEP)
    brighter = mean < room[1] or (mean <= room[0] and rng.random() < 0.5)
    return np.rint(step if brighter else -step).astype(np.int16)
