"""Which pictures of a product's good parts a task learns from, and which of them show one part.

Held-out parts say how far new parts will score, and a picture whose twin was learned says nothing.
So of pictures with the same pixels the first alone is learned from, and near copies of one picture
(`cad_edge_training.check.copies`) are one group, which no fold divides and which counts once. Where
there are no copies nothing changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cad_edge.errors import DatasetError
from cad_edge_training.check.findings import below, counted
from cad_edge_training.check.product import SeenProduct
from cad_edge_training.folds import MINIMUM_IMAGES

NAMED = 3  # copies that a sentence names, the others it counts
SAME_DEPTH = 0.9  # correlation of what is a part's own in the depth of copies

Index = NDArray[np.int64]


@dataclass(frozen=True)
class GoodParts:
    """Pictures of good parts, (n,) in the order of their names, of several views those together."""

    task: str
    folder: Path
    """Of the product."""
    names: tuple[str, ...]
    """Path of each below the folder, of several views that of the first."""
    same: Index
    """(n,) place of the first picture with the same pixels."""
    part: Index
    """(n,) place of the first picture of the same part, its near copies included."""
    pixels: tuple[str, ...]
    """Name of the pixels of each; of one that could not be read it is empty."""
    blank: tuple[str, ...] = ()
    """Files that show nothing."""

    @staticmethod
    def of(seen: SeenProduct) -> "GoodParts":
        """Tell which good parts of a product that was read are copies."""
        product, root = seen.listed.product, seen.task.path
        names = tuple(below(path, root) for path in product.train)
        cluster = {number: own[0] for own in seen.copies.learned() for number in own}
        digests: list[list[str]] = [[] for _ in names]
        looks: list[list[int]] = [[] for _ in names]
        for number, image in enumerate(seen.images.good):
            digests[image.source.part].append(image.digest)
            looks[image.source.part].append(cluster.get(number, number))
        views = seen.task.views
        # What lacks a view that could not be read is a copy of nothing; learning will name it.
        whole = [len(found) == views for found in digests]
        pixels = tuple(
            " ".join(found) if ok else "" for found, ok in zip(digests, whole, strict=True)
        )
        return GoodParts(
            seen.task.name,
            root,
            names,
            _first_of(pixels, whole),
            _first_of([tuple(found) for found in looks], whole),
            pixels,
            tuple(below(one.source.path, root) for one in seen.images.good if one.flat),
        )

    @property
    def kept(self) -> Index:
        """Places (at most n,) of the pictures to learn from."""
        return np.flatnonzero(self.same == np.arange(len(self.same)))

    @property
    def count(self) -> int:
        """How many different parts the pictures show."""
        return len(np.unique(self.part))

    def distinct(self) -> dict[str, str]:
        """Return the first picture with each pixels, by the name of these."""
        first: dict[str, str] = {}
        for pixels, name in zip(self.pixels, self.names, strict=True):
            first.setdefault(pixels, name)
        return {pixels: name for pixels, name in first.items() if pixels}

    def with_depth(self, planes: NDArray[np.float32]) -> "GoodParts":
        """Let pictures be copies only where their depth (n, height, width) says so as well."""
        if self.count == len(self.names):
            return self
        own = planes.reshape(len(planes), -1) - planes.mean(axis=0).ravel()
        own /= np.linalg.norm(own, axis=1, keepdims=True).clip(1e-6)
        places = np.arange(len(planes))
        equal = np.array([np.array_equal(planes[n], planes[self.same[n]]) for n in places])
        alike = (own * own[self.part]).sum(axis=1) >= SAME_DEPTH
        same = np.where(equal, self.same, places)
        return replace(self, same=same, part=np.where(alike | equal, self.part, places))

    def groups(self, stated: Sequence[str] | None) -> tuple[str, ...] | None:
        """Name the group of each picture that is kept.

        Parameters
        ----------
        stated
            (n,) groups that the stream file states, None where it states none. Those that share a
            part become one.

        Returns
        -------
        tuple
            A name for each of `kept`; None where every one stands for itself.

        Raises
        ------
        DatasetError
            Copies leave fewer than two of the stated groups.
        """
        kept = self.kept
        if stated is None:
            parts = self.part[kept]
            alone = len(np.unique(parts)) == len(parts)
            return None if alone else tuple(self.names[place] for place in parts)
        joined = {name: name for name in stated}
        for place, part in enumerate(self.part):
            one, other = stated[place], stated[part]
            if joined[one] != joined[other]:
                old, new = joined[one], joined[other]
                joined |= {name: new for name, now in joined.items() if now == old}
        found = tuple(joined[stated[place]] for place in kept)
        if len(set(found)) < 2:
            raise DatasetError(
                f"task {self.task}: copies join all groups of good parts into one "
                f"({self._copies(1)}); keep one of each picture"
            )
        return found

    def require(self) -> None:
        """Refuse pictures from which nothing could be learned.

        Raises
        ------
        DatasetError
            One shows nothing, or they are copies of fewer parts than it takes.
        """
        if self.blank:
            more = f" and {len(self.blank) - 1} more" if len(self.blank) > 1 else ""
            raise DatasetError(
                f"task {self.task}: {self.folder / self.blank[0]}{more} of "
                f"{counted(len(self.names), 'picture')} of good parts "
                f"show{'' if more else 's'} nothing, all pixels are equal but for noise; look at "
                "the camera, and take such pictures out"
            )
        if self.count < MINIMUM_IMAGES <= len(self.names):
            raise DatasetError(
                f"task {self.task}: the {len(self.names)} pictures of good parts in "
                f"{(self.folder / self.names[0]).parent} show {self.count} "
                f"part{'' if self.count == 1 else 's'} ({self._copies(1)}); give pictures of at "
                f"least {MINIMUM_IMAGES} different parts, better 30"
            )

    def copies_said(self) -> str:
        """Say how many pictures are copies, to follow `learned_from`; empty where none is."""
        copies = len(self.names) - self.count
        if not copies:
            return ""
        verb = "is a copy" if copies == 1 else "are copies"
        return f"; {copies} of {len(self.names)} pictures {verb} of another ({self._copies()})"

    def _copies(self, most: int = NAMED) -> str:
        """Name some copies with what they are copies of."""
        pairs = [(place, part) for place, part in enumerate(self.part.tolist()) if place != part]
        named = [f"{self.names[place]} = {self.names[part]}" for place, part in pairs[:most]]
        more = f" and {len(pairs) - most} more" if len(pairs) > most else ""
        return ", ".join(named) + more


def learned_from(task: str, parts: int, held_out: int | None) -> str:
    """Say from how many good parts a task was learned.

    Parameters
    ----------
    task
        Its name.
    parts
        Different ones.
    held_out
        How many pictures were held out in one split; None: all of them were, in turn.
    """
    said = f"{task}: learned from {counted(parts, 'good part')}"
    return said if held_out is None else f"{said}, {held_out} of which set the threshold alone"


def _first_of(values: Sequence[Any], whole: Sequence[bool]) -> Index:
    """Place (n,) of the first equal value; of what is not whole its own."""
    first: dict[Any, int] = {}
    found = [
        first.setdefault(value, place) if ok else place
        for place, (value, ok) in enumerate(zip(values, whole, strict=True))
    ]
    return np.array(found, dtype=np.int64)
