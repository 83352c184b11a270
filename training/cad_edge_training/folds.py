"""Which training images are held out: one split when there are enough, folds when there are few."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cad_edge.calibration import images_needed
from cad_edge.errors import DatasetError

Index = np.ndarray[Any, np.dtype[np.int64]]

HELD_OUT_SHARE = 0.2  # of the images, in a split
# With fewer held-out images the rate that a threshold really gives varies by more than it is worth
# giving up a fifth of the images for; folds use them all.
SPLIT_IMAGES = 100
# More folds judge held-out images less harshly, but then images taken moments apart, which most
# folders of good parts hold, vouch for each other, and the line rejects more than was stated.
FOLDS = 5
MINIMUM_IMAGES = 4


@dataclass(frozen=True)
class Folds:
    """How images of good parts are held out for calibration."""

    scheme: Literal["split", "cross"]
    count: int
    """Number of folds, 1 for a split."""
    members: Index
    """(n,) fold of every image; in a split 0 is held out and 1 is learned from."""

    def splits(self) -> Iterator[tuple[Index, Index]]:
        """Pairs of image indices (learned from, held out)."""
        for fold in range(self.count):
            held = self.members == fold
            yield np.flatnonzero(~held), np.flatnonzero(held)

    def learned(self) -> Index:
        """Images that the final memory may hold: all but those of a split's held-out part."""
        everything = np.arange(len(self.members))
        return everything[self.members != 0] if self.scheme == "split" else everything


def draw_folds(images: int, rate: float, seed: int) -> Folds:
    """Choose the scheme for ``images`` images and a stated false-reject ``rate``.

    Raises
    ------
    DatasetError
        Fewer than 4 images.
    """
    if images < MINIMUM_IMAGES:
        raise DatasetError(
            f"{images} images of good parts are too few to learn and calibrate from; give at "
            f"least {MINIMUM_IMAGES}, better 30"
        )
    order = np.random.default_rng(seed).permutation(images)
    members = np.empty(images, dtype=np.int64)
    held_out = int(images * HELD_OUT_SHARE)
    if held_out >= max(SPLIT_IMAGES, images_needed(rate)):
        members[order] = (np.arange(images) >= held_out).astype(np.int64)
        return Folds("split", 1, members)
    count = min(FOLDS, images)
    members[order] = np.arange(images) % count
    return Folds("cross", count, members)
