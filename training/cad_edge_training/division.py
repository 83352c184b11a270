"""Which good parts are held out by a method that learns its products into one network.

What it would learn from folds of them is another network, so that there is one split.
"""

from dataclasses import dataclass

import numpy as np

from cad_edge.calibration import images_needed
from cad_edge.errors import DatasetError

SHARE = 0.2  # of the good parts, where the stated rate does not need more
KEPT = 32  # at most: what the frozen backbone sees of them stays in the artifact
MINIMUM = 4

Index = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class Division:
    """Good parts by what they are for."""

    learned: Index
    held_out: Index


def divide(images: int, rate: float, seed: int, task: str) -> Division:
    """Draw the good parts that calibrate and take no part in learning.

    A fifth of them; as many as the stated rate needs, if at least half stay to learn from; never
    more than 32.

    Parameters
    ----------
    images
        Number of good parts.
    rate
        Stated false-reject rate.
    seed
        Of the draw.
    task
        Whose they are.

    Raises
    ------
    DatasetError
        There are too few.
    """
    if images < MINIMUM:
        raise DatasetError(
            f"{task} has {images} images of good parts, too few to learn and calibrate from; give "
            f"at least {MINIMUM}, better 30"
        )
    count = max(1, round(images * SHARE))
    if (needed := images_needed(rate)) <= images // 2:
        count = max(count, needed)
    order = np.random.default_rng(seed).permutation(images)
    count = min(count, KEPT)
    return Division(np.sort(order[count:]), np.sort(order[:count]))
