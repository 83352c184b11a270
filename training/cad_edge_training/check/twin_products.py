"""Which products hold the same photographs under two names, although their bytes differ.

Pictures with the same pixels are found by their digest (`before_learning.shared_lines`). Here a few
pictures of the smaller product are sought among those of the other as `near_copies` does, and all
of them where one is found.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cad_edge_training.check.contrast_pyramid import ContrastPyramid
from cad_edge_training.check.near_copies import near_copies
from cad_edge_training.check.product import SeenProduct
from cad_edge_training.check.registration import best_shifts, spectrum

PROBES = 8  # pictures of the smaller product that are sought first
KEPT = 128  # pictures of a product at most
LIKEST = 3  # pictures of the other product that each one is laid on
BACKGROUND = 16  # further ones, which say what is usual in the product
ALIKE = 0.5  # coarse correlation below which nothing is looked at


@dataclass(frozen=True)
class ProductPictures:
    """Good training pictures of a product, evenly chosen where there are many."""

    task: str
    names: tuple[str, ...]
    """Paths of the files, as they are said."""
    digests: tuple[str, ...]
    """Of their pixels."""
    pictures: tuple[ContrastPyramid, ...]

    @classmethod
    def of(cls, seen: SeenProduct) -> "ProductPictures":
        """Keep the pictures of a product that show something."""
        shown = [one for one in seen.images.train if not one.flat]
        step = max(1, -(-len(shown) // KEPT))
        chosen = shown[::step]
        return cls(
            seen.task.name,
            tuple(str(one.source.path) for one in chosen),
            tuple(one.digest for one in chosen),
            tuple(one.contrast for one in chosen),
        )


@dataclass(frozen=True)
class Twins:
    """What two products have in common."""

    smaller: ProductPictures
    other: ProductPictures
    pairs: tuple[tuple[str, str], ...]
    """Path of a picture of the smaller one, and of its twin in the other."""

    @property
    def share(self) -> float:
        """Of the smaller product's pictures."""
        return len(self.pairs) / len(self.smaller.pictures)


def twin_products(products: Sequence[ProductPictures]) -> Iterator[Twins]:
    """Find near copies between every two products; only those that have some are given."""
    for place, one in enumerate(products):
        for before in products[:place]:
            smaller, other = sorted((before, one), key=lambda it: len(it.pictures))
            found = _twins(smaller, other)
            if found.pairs:
                yield found


def _twins(smaller: ProductPictures, other: ProductPictures) -> Twins:
    known = set(other.digests)
    own = [number for number, digest in enumerate(smaller.digests) if digest not in known]
    step = max(1, len(own) // PROBES)
    pairs = _sought(smaller, other, own[::step][:PROBES])
    if pairs:
        pairs = _sought(smaller, other, own)
    return Twins(
        smaller, other, tuple((smaller.names[one], other.names[twin]) for one, twin in pairs)
    )


def _sought(
    smaller: ProductPictures, other: ProductPictures, numbers: Sequence[int]
) -> list[tuple[int, int]]:
    """Seek pictures of the smaller product in the other one, each with one twin at most."""
    if not numbers or not other.pictures:
        return []
    spectra = np.stack([spectrum(picture.coarse) for picture in other.pictures])
    among: set[int] = set()
    for number in numbers:
        reached, _ = best_shifts(spectrum(smaller.pictures[number].coarse), spectra)
        likest = np.argsort(-reached, kind="stable")[:LIKEST]
        among |= {int(place) for place in likest if reached[place] >= ALIKE}
    if not among:
        return []
    places = sorted(among | set(range(min(BACKGROUND, len(other.pictures)))))
    # Copies of them, since what is made of a picture is kept with it.
    laid = [copy.copy(other.pictures[place]) for place in places]
    laid += [copy.copy(smaller.pictures[number]) for number in numbers]
    twins: dict[int, int] = {}
    for found in near_copies(laid, len(places)):
        if found.second >= len(places):
            twins.setdefault(numbers[found.second - len(places)], places[found.first])
    return sorted(twins.items())
