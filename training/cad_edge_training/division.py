"""Which good parts are held out by a method that learns its products into one network.

What it would learn from folds of them is another network, so that there is one split. Where the
stream file names groups of images, a group is held out whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cad_edge.calibration import images_needed
from cad_edge.errors import DatasetError
from cad_edge_training.whole_groups import WholeGroups

SHARE = 0.2  # of the good parts, where the stated rate does not need more
KEPT = 32  # at most: what the frozen backbone sees of them stays in the artifact
MINIMUM = 4

Index = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class Division:
    """Good parts by what they are for; those of a large group that is held out may be neither."""

    learned: Index
    held_out: Index
    groups: int | None = None
    """How many groups ``held_out`` is of; None where every image stands for itself."""


def divide(
    images: int,
    rate: float,
    seed: int,
    task: str,
    groups: Sequence[str] | None = None,
    fewest: int = 1,
) -> Division:
    """Draw the good parts that calibrate and take no part in learning.

    A fifth of them; as many as the stated rate needs, if at least half stay to learn from; never
    more than 32. Of groups, as many as come nearest to that, and 32 images evenly from these.

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
    groups
        Name of the group of each image; none is divided.
    fewest
        How many images are held out at least, or half of them if those are fewer; not of groups.

    Raises
    ------
    DatasetError
        There are too few, or they are of one group.
    """
    if images < MINIMUM:
        raise DatasetError(
            f"{task} has {images} images of good parts, too few to learn and calibrate from; give "
            f"at least {MINIMUM}, better 30"
        )
    if groups is not None:
        return _divide_whole(WholeGroups.of(groups, images), rate, seed)
    count = max(min(fewest, images // 2), round(images * SHARE))
    if (needed := images_needed(rate)) <= images // 2:
        count = max(count, needed)
    order = np.random.default_rng(seed).permutation(images)
    count = min(count, KEPT)
    return Division(np.sort(order[count:]), np.sort(order[:count]))


def _divide_whole(groups: WholeGroups, rate: float, seed: int) -> Division:
    """Divide as `divide` does, where a rate needs groups and not only images."""
    rng = np.random.default_rng(seed)
    needed, known = images_needed(rate), len(groups.sizes)
    fewest = min(needed, KEPT) if needed <= known // 2 else 1
    drawn = groups.hold_out(min(len(groups.members) * SHARE, KEPT), fewest, rng)
    held_out = groups.thinned(drawn, KEPT, rng)
    learned = np.flatnonzero(~np.isin(groups.members, drawn))
    return Division(learned, held_out, len(np.unique(groups.members[held_out])))
