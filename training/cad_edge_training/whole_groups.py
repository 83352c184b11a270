"""Draws that divide no group of images: folds, and a part that is held out.

A group is what the stream file says belongs together (`cad_edge.data.grouping`). Draws depend on
the names of the groups, the number of their images and the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cad_edge.errors import DatasetError

Index = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class WholeGroups:
    """Images by their groups, which are numbered in the order of their names."""

    members: Index
    """(n,) group of every image."""
    sizes: Index
    """(n_groups,) images of every group, at least two groups."""

    @staticmethod
    def of(groups: Sequence[str], images: int) -> "WholeGroups":
        """Give each group a number.

        Parameters
        ----------
        groups
            Name of the group of each image.
        images
            Number of images.

        Raises
        ------
        DatasetError
            There is one group alone, which cannot be learned from and held out as well.
        """
        if len(groups) != images:
            raise ValueError(f"{len(groups)} groups are named for {images} images")
        _, members, sizes = np.unique(list(groups), return_inverse=True, return_counts=True)
        if len(sizes) < 2:
            raise DatasetError(
                f"all {images} images of good parts are of one group, and a group is never divided "
                "between what is learned from and what is held out; give images of at least two "
                "groups, or leave `group` out"
            )
        return WholeGroups(members.astype(np.int64), sizes.astype(np.int64))

    def folds(self, count: int, rng: np.random.Generator) -> Index:
        """Deal the groups into folds of about as many images each.

        Parameters
        ----------
        count
            Number of folds, at most that of the groups.
        rng
            Of the order of groups of one size.

        Returns
        -------
        Index
            (n,) fold of every image.
        """
        order = rng.permutation(len(self.sizes))
        # The largest first, each into the fold that has the fewest images: what comes last is small
        # and evens out what came before.
        order = order[np.argsort(-self.sizes[order], kind="stable")]
        loads = np.zeros(count, dtype=np.int64)
        fold_of = np.zeros(len(self.sizes), dtype=np.int64)
        for group in order:
            fold_of[group] = loads.argmin()
            loads[fold_of[group]] += self.sizes[group]
        return fold_of[self.members]

    def hold_out(self, images: float, fewest: int, rng: np.random.Generator) -> Index:
        """Draw the groups that are held out.

        Parameters
        ----------
        images
            Number of images to come near to, at most half of them.
        fewest
            Groups to hold out at least, if half of the images stay to learn from.
        rng
            Of the order in which groups are tried.

        Returns
        -------
        Index
            (n_held_out,) numbers of groups, ascending, at least one.
        """
        order = rng.permutation(len(self.sizes))
        held: list[int] = []
        for group in order:
            # Nearer with it than without it.
            if self._images(held) + self.sizes[group] / 2 <= images:
                held.append(int(group))
        held = held or [int(order[self.sizes[order].argmin()])]
        further = list(held)
        for group in order:
            few = len(further) < fewest and int(group) not in further
            if few and 2 * (self._images(further) + self.sizes[group]) <= self.sizes.sum():
                further.append(int(group))
        return np.sort(further if len(further) >= fewest else held).astype(np.int64)

    def thinned(self, held: Index, most: int, rng: np.random.Generator) -> Index:
        """Draw images of some groups, as evenly from all of these as there are.

        Parameters
        ----------
        held
            Numbers of the groups.
        most
            Images to draw; all of the groups where they have fewer.
        rng
            Of the draw.

        Returns
        -------
        Index
            (at most ``most``,) images, ascending.
        """
        order = rng.permutation(np.flatnonzero(np.isin(self.members, held)))
        turn = np.zeros(len(order), dtype=np.int64)
        for group in held:
            own = self.members[order] == group
            turn[own] = np.arange(own.sum())
        return np.sort(order[np.argsort(turn, kind="stable")][:most])

    def _images(self, groups: Sequence[int]) -> int:
        return int(self.sizes[list(groups)].sum())
