"""Small pictures inside the page: no file beside it."""

import html
from pathlib import Path

import numpy as np
from PIL import Image

from cad_edge.data.image import Frame, as_rgb, decode_image, decode_pixels
from cad_edge.errors import ImageError
from cad_edge_benchmarks.reporting.drawing import data_address

LARGE, MIDDLE, SMALL = 220, 164, 84  # pixels of the longer side


def thumbnail(path: Path, side: int, said: str) -> str:
    """Draw an image file as an ``<img>``; a grey box where it cannot be read.

    Parameters
    ----------
    path
        Image file.
    side
        Pixels of the longer side.
    said
        What is shown over it, and read out to those who cannot see it.
    """
    try:
        return _drawn(decode_image(path), side, said)
    except ImageError:
        return f'<span class="nothing" title="{html.escape(said)}">no image</span>'


def mask_thumbnail(path: Path, side: int, said: str) -> str:
    """Draw a mask: white is what it marks, whatever its values are."""
    try:
        pixels = decode_pixels(path)
        values = pixels if pixels.ndim == 2 else as_rgb(pixels).max(axis=2)
    except ImageError:
        return f'<span class="nothing" title="{html.escape(said)}">no mask</span>'
    marked = np.where(values > 0, 255, 0).astype(np.uint8)
    return _drawn(np.repeat(marked[:, :, None], 3, axis=2), side, said)


def _drawn(rgb: Frame, side: int, said: str) -> str:
    picture = Image.fromarray(rgb)
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    shown = html.escape(said, quote=True)
    return (
        f'<img src="{data_address(np.asarray(small))}" width="{size[0]}" height="{size[1]}" '
        f'loading="lazy" alt="{shown}" title="{shown}">'
    )
