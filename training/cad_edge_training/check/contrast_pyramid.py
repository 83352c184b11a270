"""A picture as the search for copies sees it: grey, square, and its contrast at three scales."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cad_edge.data.image import Frame
from cad_edge_training.check.registration import Plane, local_contrast

SIDE = 256  # pixels, to which pictures are resized whatever their shape
COARSE, MIDDLE = 64, 128
BLOCKS = 32  # a side, over which noise is averaged
ACROSS = 0.08  # of the contrast's slopes must run across the main direction
SPREAD = 6.0  # of 64 blocks must hold contrast


class ContrastPyramid:
    """One picture with its contrast at three scales, made when they are asked for."""

    def __init__(self, rgb: Frame) -> None:
        """Keep grey levels (256, 256) of ``rgb`` (h, w, 3) in half precision."""
        grey = Image.fromarray(rgb).convert("L").convert("F")
        square = grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
        self.grey: NDArray[np.float16] = np.asarray(square).astype(np.float16)
        self.smallest_side = min(rgb.shape[:2])
        self.aspect = rgb.shape[0] / rgb.shape[1]

    def grey_at(self, side: int) -> Plane:
        """Grey levels (side, side)."""
        return self.grey.astype(np.float32) if side == SIDE else self._reduced(SIDE // side)

    @cached_property
    def coarse(self) -> Plane:
        """Contrast (64, 64)."""
        return contrast_of(self.grey_at(COARSE))

    @cached_property
    def blocks(self) -> Plane:
        """Mean grey levels (32, 32)."""
        return self._reduced(SIDE // BLOCKS)

    @cached_property
    def middle(self) -> Plane:
        """Contrast (128, 128)."""
        return contrast_of(self.grey_at(MIDDLE))

    @cached_property
    def fine(self) -> Plane:
        """Contrast (256, 256)."""
        return contrast_of(self.grey_at(SIDE))

    def _reduced(self, factor: int) -> Plane:
        side = SIDE // factor
        blocks = self.grey.astype(np.float32).reshape(side, factor, side, factor)
        reduced: Plane = blocks.mean(axis=(1, 3))
        return reduced

    @cached_property
    def distinctive(self) -> bool:
        """Whether there is enough in it to call another picture its copy.

        Two pictures of one straight edge agree wherever they come from.
        """
        down, across = np.gradient(self.middle)
        mixed = float((down * across).sum())
        tensor = [[float((down**2).sum()), mixed], [mixed, float((across**2).sum())]]
        weak, strong = np.linalg.eigvalsh(np.array(tensor))
        energy = (self.middle**2).reshape(8, 16, 8, 16).sum(axis=(1, 3)).ravel()
        filled = energy.sum() ** 2 / max(float((energy**2).sum()), 1e-12)
        return bool(weak > ACROSS * (weak + strong) and filled >= SPREAD)


def contrast_of(grey: Plane) -> Plane:
    """Contrast of grey levels (side, side) at one of the three scales."""
    fine, coarse = (0.7, 2.5) if len(grey) == COARSE else (1.0, 4.0)
    return local_contrast(grey, fine, coarse)
