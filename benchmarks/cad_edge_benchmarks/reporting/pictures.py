"""Pictures inside a page: frames with boxes, and small ones of files. No file beside it."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cad_edge.data.image import Frame, as_rgb, decode_image, decode_pixels
from cad_edge.errors import ImageError
from cad_edge.heatmap import COLOURS, OPACITY, overlay

LARGE, MIDDLE, SMALL = 220, 164, 84  # pixels of the longer side
FAINTEST = 0.75  # quantile of a level's map that gets no colour
_QUALITY = 88  # of JPEG, at which the grain of a surface stays

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels of the frame; right and bottom are exclusive."""


def resized(rgb: Frame, side: int) -> Frame:
    """Resize (h, w, 3) uint8 smoothly so that its longer side has ``side`` pixels."""
    scale = side / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    picture = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.array(picture)


def data_address(rgb: Frame) -> str:
    """Return (h, w, 3) uint8 as a ``data:`` address that a page can show."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def framed(
    rgb: Frame, size: tuple[int, int], boxes: Sequence[Box], kind: str, description: str
) -> str:
    """Draw a frame with boxes over it as one ``<svg>``.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8, the frame at any size.
    size
        (height, width) of the original frame, in whose pixels the boxes are.
    boxes
        What to mark.
    kind
        Style of the boxes: ``found`` or ``truth``.
    description
        What a reader hears who cannot see it.
    """
    height, width = size
    marks = "".join(
        f'<rect class="{kind}" x="{left}" y="{top}" width="{right - left}" '
        f'height="{bottom - top}"/>'
        for left, top, right, bottom in boxes
    )
    return (
        f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{html.escape(description)}"><image href="{data_address(rgb)}" '
        f'width="{width}" height="{height}"/>{marks}</svg>'
    )


def box_around(marked: NDArray[np.bool_]) -> Box:
    """Box around everything that is marked in a mask (h, w); of no size where nothing is."""
    rows, columns = np.nonzero(marked)
    if not len(rows):
        return (0, 0, 0, 0)
    return (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def level_overlay(rgb: Frame, level_map: NDArray[np.float32] | None) -> Frame | None:
    """Draw the map of one level of evidence over its frame, coloured by itself.

    Maps of levels have no thresholds, so the quantile `FAINTEST` of the map itself gets no colour
    and its peak full colour: it shows where the level sees something, and not how much.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8.
    level_map
        (height, width) float32 at any size.

    Returns
    -------
    (h, w, 3) uint8; None without a map, or where a value of it is no finite number.
    """
    if level_map is None or not np.isfinite(level_map).all():
        return None
    low = float(np.quantile(level_map, FAINTEST))
    return overlay(rgb, level_map, low, float(level_map.max()))


LEVEL_LEGEND = (
    '<p class="legend">Beside the heat map stands the map of the level of evidence that the score '
    "rests on, with its share of what all levels add. It is coloured by itself, from its upper "
    "quartile to its peak: it shows where, and colours of two pictures do not compare.</p>"
)
"""How to read maps of levels, as markup."""


def level_words(level: str | None, share: float | None) -> str:
    """Write a level and its share of the score, e.g. ``global 71 %``; empty without a level."""
    return "" if level is None or share is None else f"{level} {100 * share:.0f} %"


def colour_bar() -> str:
    """Draw the colours of a heat map over grey, as `cad_edge.heatmap.overlay` mixes them."""
    position = np.linspace(0.0, 1.0, 256)
    weight = OPACITY * np.sqrt(position)[:, None]
    mixed = np.rint(128 * (1 - weight) + COLOURS * weight).astype(np.uint8)
    bar = np.repeat(mixed[None], 12, axis=0)
    return (
        f'<img class="bar" src="{data_address(bar)}" '
        'alt="colours from none over purple and orange to yellow">'
    )


def thumbnail(path: Path, side: int, description: str, is_mask: bool = False) -> str:
    """Draw an image file as an ``<img>``; a grey box where it cannot be read.

    Parameters
    ----------
    path
        Image file.
    side
        Pixels of the longer side.
    description
        What is shown over it, and read out to those who cannot see it.
    is_mask
        Whether it is a mask, in which everything but 0 is drawn white, whatever its values are.
    """
    text = html.escape(description)
    try:
        rgb = resized(_marked(path) if is_mask else decode_image(path), side)
    except ImageError:
        return f'<span class="nothing" title="{text}">no {"mask" if is_mask else "image"}</span>'
    return (
        f'<img src="{data_address(rgb)}" width="{rgb.shape[1]}" height="{rgb.shape[0]}" '
        f'loading="lazy" alt="{text}" title="{text}">'
    )


def _marked(path: Path) -> Frame:
    pixels = decode_pixels(path)
    values = pixels if pixels.ndim == 2 else as_rgb(pixels).max(axis=2)
    return np.repeat(np.where(values > 0, 255, 0).astype(np.uint8)[:, :, None], 3, axis=2)
