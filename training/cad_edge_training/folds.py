"""Which training images are held out: one split when there are enough, folds when there are few.

Where the stream file names groups of images, a group is held out whole, and the number of groups
says what is enough.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cad_edge.calibration import images_needed
from cad_edge.errors import DatasetError
from cad_edge_training.whole_groups import WholeGroups

Index = np.ndarray[Any, np.dtype[np.int64]]

HELD_OUT_SHARE = 0.2  # of the images, or of the groups of them, in a split
# With fewer held-out images the rate that a threshold really gives varies by more than it is worth
# giving up a fifth of the images for; folds use them all.
SPLIT_IMAGES = 100
# More folds judge held-out images less harshly, but then images taken moments apart, which most
# folders of good parts hold, vouch for each other, and the line rejects more than was stated.
FOLDS = 5
MINIMUM_IMAGES = 4
LEARNED_IMAGES = 3  # what the smallest product has in a fold


@dataclass(frozen=True)
class Folds:
    """How images of good parts are held out for calibration."""

    scheme: Literal["split", "cross"]
    count: int
    """Number of folds, 1 for a split."""
    members: Index
    """(n,) fold of every image; in a split 0 is held out and 1 is learned from."""
    groups: int | None = None
    """How many groups the held-out images are of; None where every image stands for itself."""

    def splits(self) -> Iterator[tuple[Index, Index]]:
        """Pairs of image indices (learned from, held out)."""
        for fold in range(self.count):
            held = self.members == fold
            yield np.flatnonzero(~held), np.flatnonzero(held)

    def learned(self) -> Index:
        """Images that the final memory may hold: all but those of a split's held-out part."""
        everything = np.arange(len(self.members))
        return everything[self.members != 0] if self.scheme == "split" else everything


def draw_folds(
    images: int,
    rate: float,
    seed: int,
    groups: Sequence[str] | None = None,
    folds: int = FOLDS,
) -> Folds:
    """Choose the scheme for ``images`` images and a stated false-reject ``rate``.

    Parameters
    ----------
    images
        Number of images.
    rate
        Stated false-reject rate, in (0, 1).
    seed
        Of the draw.
    groups
        Name of the group of each image, which no fold divides. Fewer groups than ``folds`` give as
        many folds as there are groups, each of which leaves one group out.
    folds
        How many, where images are too few to split.

    Raises
    ------
    DatasetError
        Fewer than 4 images; one group alone, or one that is nearly all images.
    """
    if images < MINIMUM_IMAGES:
        raise DatasetError(
            f"{images} images of good parts are too few to learn and calibrate from; give at "
            f"least {MINIMUM_IMAGES}, better 30"
        )
    if groups is not None:
        return _draw_whole(WholeGroups.of(groups, images), rate, seed, folds)
    order = np.random.default_rng(seed).permutation(images)
    members = np.empty(images, dtype=np.int64)
    held_out = int(images * HELD_OUT_SHARE)
    if held_out >= max(SPLIT_IMAGES, images_needed(rate)):
        members[order] = (np.arange(images) >= held_out).astype(np.int64)
        return Folds("split", 1, members)
    count = min(folds, images)
    members[order] = np.arange(images) % count
    return Folds("cross", count, members)


def _draw_whole(groups: WholeGroups, rate: float, seed: int, most: int) -> Folds:
    """Draw as `draw_folds` does, counting groups where it counts images."""
    rng = np.random.default_rng(seed)
    known, images = len(groups.sizes), len(groups.members)
    enough = max(SPLIT_IMAGES, images_needed(rate))
    if int(known * HELD_OUT_SHARE) >= enough:
        held_out = groups.hold_out(images * HELD_OUT_SHARE, enough, rng)
        if len(held_out) >= enough:
            members = (~np.isin(groups.members, held_out)).astype(np.int64)
            return Folds("split", 1, members, len(held_out))
    count = min(most, known)
    folds = Folds("cross", count, groups.folds(count, rng), known)
    if (fewest := min(len(learned) for learned, _ in folds.splits())) < LEARNED_IMAGES:
        raise DatasetError(
            f"of {images} images of good parts, all but {fewest} are of one group, and a group is "
            f"held out whole; give at least {LEARNED_IMAGES} images of other groups"
        )
    return folds
