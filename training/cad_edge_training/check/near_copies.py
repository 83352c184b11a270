"""Which pictures are the same photograph, although their bytes differ.

Good photographs of a well-aligned product look almost the same and are no copies. What a copy
shares is what no other picture of the product has: the grain of this surface, the noise of this
exposure. So a pair that looks alike is laid on each other, what other pictures of the product
explain is taken off both, and what is left must still agree.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cad_edge_training.check.contrast_pyramid import ContrastPyramid
from cad_edge_training.check.registration import (
    AxisOverlap,
    Plane,
    Registration,
    best_shifts,
    laid_on,
    partial_correlation,
    refined,
    spectrum,
)
from cad_edge_training.check.turns import UPRIGHT, Turn

ZOOMS = (1.0, 0.95, 1 / 0.95)
"""Scales of the coarse search, so that a picture that was cropped is found too."""

CANDIDATES = 6  # pictures that are laid on each one at the coarse scale
FINALISTS = 2  # of them that are looked at more closely
ALIKE = 0.5  # coarse correlation below which nothing is looked at
GRAIN = 0.4  # correlation in place, of what is left without the product's mean
RESEMBLES = 0.75  # coarse correlation of a copy once it is laid on; a fine weave is a blur there
AGREES = 0.92  # correlation of a copy at the middle scale
OWN = 0.88  # the same at the middle scale, of what others do not explain
OWN_FINE = 0.85  # and at the fine scale, where a copy has lost some grain
OWN_ALONE = 0.96  # at the middle scale, where the pictures are too small for the fine one
EXPLAINING = 3  # other pictures that explain what is usual
PASSED_OVER = 0.1  # of the likest others explain nothing: they could be copies too
SMALL = 200  # pixels of a side: below it the fine scale is interpolation


def agreement_of_copy(own: Callable[[str], float], side: int) -> float | None:
    """Hold what two pictures share and others do not explain against what copies share.

    Parameters
    ----------
    own
        Correlation of what others do not explain, by scale: ``middle``, then ``fine``.
    side
        Smallest side of the two, in pixels.

    Returns
    -------
    The correlation that decided; None where it is not that of a copy.
    """
    middle = own("middle")
    if middle < OWN:
        return None
    if side < SMALL:
        return middle if middle >= OWN_ALONE else None
    fine = own("fine")
    return fine if fine >= OWN_FINE else None


@dataclass(frozen=True)
class NearCopy:
    """Two pictures that are one photograph, by their numbers."""

    first: int
    """A training picture."""
    second: int
    fit: Registration
    """Of the second on the first, at the middle scale."""
    own: float
    """Correlation of what no other picture explains."""
    turn: Turn = UPRIGHT
    """Of the second, before it is laid on the first."""


def near_copies(pictures: Sequence[ContrastPyramid], learned: int) -> list[NearCopy]:
    """Find copies among training pictures, and between them and the others.

    Parameters
    ----------
    pictures
        Training pictures first.
    learned
        How many of them are for training.

    Returns
    -------
    list
        Pairs whose first picture is one for training, in order.
    """
    if learned == 0 or len(pictures) < 2:
        return []
    search = _search(pictures, learned)
    laid = _Laid(pictures, search)
    found = []
    for first, second in laid.finalists():
        fit = laid.fit(first, second)
        if fit.correlation < AGREES:
            continue
        if not (pictures[first].distinctive and pictures[second].distinctive):
            continue
        own = laid.own(first, second)
        if own is not None:
            found.append(NearCopy(first, second, fit, own))
    return found


@dataclass(frozen=True)
class _Search:
    """Coarse correlations of every training picture with every picture."""

    learned: int
    likeness: NDArray[np.float32]
    """(learned, n); -1 with itself."""
    starts: NDArray[np.float32]
    """(learned, n, 3) scale, shift of rows, shift of columns with which it was reached."""

    def start(self, first: int, second: int) -> Registration:
        """Where the fit of a pair begins."""
        scale, down, across = self.starts[first, second].tolist()
        return Registration(AxisOverlap(scale, down), AxisOverlap(scale, across), 0.0)

    def explaining(self, first: int, second: int) -> list[int]:
        """Training pictures that resemble the first one as any picture of the product may."""
        order = np.argsort(-self.likeness[first, : self.learned], kind="stable").tolist()
        others = [number for number in order if number not in (first, second)]
        skipped = max(EXPLAINING, math.ceil(PASSED_OVER * self.learned))
        skipped = min(skipped, max(len(others) - EXPLAINING, 0))
        return others[skipped : skipped + EXPLAINING]


def _search(pictures: Sequence[ContrastPyramid], learned: int) -> _Search:
    """Correlate every training picture with every picture over shifts and `ZOOMS`."""
    count = len(pictures)
    likeness = np.full((learned, count), -1.0, dtype=np.float32)
    starts = np.zeros((learned, count, 3), dtype=np.float32)
    plain = np.stack([spectrum(picture.coarse) for picture in pictures[:learned]])
    for zoom in ZOOMS:
        lying = Registration(AxisOverlap(zoom), AxisOverlap(zoom), 0.0)
        others = np.stack([spectrum(laid_on(picture.coarse, lying)[0]) for picture in pictures])
        for first in range(learned):
            # Apart, so that no test image moves a bit of what training images are told apart by.
            for block in _blocks(learned, count):
                reached, shifts = best_shifts(plain[first], others[block])
                better = block.start + np.flatnonzero(reached > likeness[first, block])
                likeness[first, better] = reached[better - block.start]
                starts[first, better, 0] = zoom
                starts[first, better, 1:] = zoom * shifts[better - block.start]
    own = np.arange(learned)
    likeness[own, own] = -1.0
    return _Search(learned, likeness, starts)


def _blocks(learned: int, count: int) -> list[slice]:
    """Places of the training pictures, and of the others where there are any."""
    return [slice(0, learned), *([slice(learned, count)] if count > learned else [])]


def _grain(pictures: Sequence[ContrastPyramid], learned: int) -> NDArray[np.float32]:
    """Correlations in place (learned, n) of what is left once the mean picture is taken off.

    Where all pictures show one part in one place they agree so well that a copy does not stand out,
    but for its noise.
    """
    contrast = np.stack([picture.coarse.ravel() for picture in pictures])
    left = contrast - contrast[:learned].mean(axis=0)
    left /= np.linalg.norm(left, axis=1, keepdims=True).clip(1e-6)
    own, others = left[:learned], left[learned:]
    grain: NDArray[np.float32] = np.concatenate([own @ own.T, own @ others.T], axis=1)
    np.fill_diagonal(grain, -1.0)
    return grain


def _likest(likeness: NDArray[np.float32], count: int, least: float) -> list[tuple[int, int]]:
    """(row, column) of the ``count`` highest entries of every row, none below ``least``."""
    best = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
    return [
        (row, int(column))
        for row, columns in enumerate(best)
        for column in columns
        if likeness[row, column] >= least
    ]


def _pairs(likeness: NDArray[np.float32], count: int, least: float) -> list[tuple[int, int]]:
    """Pairs of the likest: of each training picture in training and beside it, and of the others.

    Parameters
    ----------
    likeness
        (learned, n), the first ``learned`` columns for training.
    """
    learned = len(likeness)
    within, across = likeness[:, :learned], likeness[:, learned:]
    found = {(min(pair), max(pair)) for pair in _likest(within, count, least)}
    found |= {(first, second + learned) for first, second in _likest(across, count, least)}
    found |= {(first, second + learned) for second, first in _likest(across.T, count, least)}
    return sorted(found)


class _Laid:
    """Pictures laid on others, each pair once."""

    def __init__(self, pictures: Sequence[ContrastPyramid], search: _Search) -> None:
        self._pictures = pictures
        self._search = search
        self._fits: dict[tuple[int, int, str], Registration] = {}

    def finalists(self) -> list[tuple[int, int]]:
        """Pairs that are likest once one is laid on the other at the coarse scale."""
        likeness = np.full_like(self._search.likeness, -1.0)
        for first, second in _pairs(self._search.likeness, CANDIDATES, ALIKE):
            reached = self.coarse(first, second).correlation
            likeness[first, second] = reached
            if second < len(likeness):
                likeness[second, first] = reached
        grain = _grain(self._pictures, self._search.learned)
        found = {*_pairs(likeness, FINALISTS, RESEMBLES), *_pairs(grain, FINALISTS, GRAIN)}
        return sorted(found)

    def coarse(self, first: int, second: int) -> Registration:
        """Fit of the second picture on the first at the coarse scale."""
        return self._fit(first, second, "coarse", self._search.start(first, second))

    def fit(self, first: int, second: int) -> Registration:
        """Fit at the middle scale."""
        return self._fit(first, second, "middle", self.coarse(first, second))

    def _fit(self, first: int, second: int, scale: str, start: Registration) -> Registration:
        key = (first, second, scale)
        if key not in self._fits:
            one, other = self._pictures[first], self._pictures[second]
            self._fits[key] = refined(getattr(one, scale), getattr(other, scale), start)
        return self._fits[key]

    def own(self, first: int, second: int) -> float | None:
        """Agreement in what others do not explain, None where it is not that of a copy."""
        side = min(self._pictures[n].smallest_side for n in (first, second))
        return agreement_of_copy(lambda scale: self._own(first, second, scale), side)

    def _own(self, first: int, second: int, scale: str) -> float:
        """Correlation of the two pictures after what `explaining` ones say was taken off."""
        one: Plane = getattr(self._pictures[first], scale)
        numbers = [second, *self._search.explaining(first, second)]
        moved = []
        top, left, bottom, right = 0, 0, *one.shape
        for number in numbers:
            fit = self.fit(first, number)
            if scale == "fine":
                fit = self._fit(first, number, scale, fit)
            plane, (rows, columns) = laid_on(getattr(self._pictures[number], scale), fit)
            moved.append(plane)
            top, bottom = max(top, rows.start), min(bottom, rows.stop)
            left, right = max(left, columns.start), min(right, columns.stop)
        seen = [plane[top:bottom, left:right].ravel() for plane in (one, *moved)]
        if seen[0].size < one.size / 4:
            return 0.0
        return partial_correlation(seen[0], seen[1], seen[2:])
