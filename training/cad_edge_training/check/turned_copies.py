"""Which training pictures are one photograph that was mirrored, turned, or shifted with its likes.

Copies made by offline augmentation come in whole sets, and in a well-aligned product every picture
of a set resembles every picture of another as soon as one is turned back. So pictures are also laid
on one of them, the reference, what is usual there is taken off, and pairs are sought by what is
left. Every pair is then verified as `near_copies` does, each picture turned as it fits best.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cad_edge_training.check.contrast_pyramid import COARSE, MIDDLE, SIDE, ContrastPyramid
from cad_edge_training.check.near_copies import (
    AGREES,
    EXPLAINING,
    PASSED_OVER,
    NearCopy,
    agreement_of_copy,
)
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
from cad_edge_training.check.turn_search import SAME, TurnSearch
from cad_edge_training.check.turns import EXACT, FLIPS, Turn, TurnedFit, inner, turned_contrast

LIKEST = 4  # pictures that are looked at for each one, by either way of search
ALIKE = 0.5  # coarse correlation below which nothing is looked at
MORE = 0.02  # by which a turn must be better than none
LIES = 0.75  # coarse correlation of a picture that lies on the reference
GRAIN = 0.4
FINALISTS = 2
RESEMBLES = 0.85  # as in `near_copies`
SIDES = {"coarse": COARSE, "middle": MIDDLE, "fine": SIDE}
CLOSE, CLOSER = 0.75, 0.25  # degrees that are tried beside a turn, coarse and middle


class TurnedPictures:
    """Pictures laid on others in any turn, each pair once."""

    def __init__(self, pictures: Sequence[ContrastPyramid], search: TurnSearch) -> None:
        self._pictures = pictures
        self.search = search
        self._turned: dict[tuple[int, Turn, str], Plane] = {}
        self._fits: dict[tuple[int, int, str], TurnedFit] = {}
        self.lying: dict[int, TurnedFit] = {}

    def _plane(self, number: int, turn: Turn, scale: str) -> Plane:
        key = (number, turn, scale)
        if key not in self._turned:
            self._turned[key] = inner(turned_contrast(self._pictures[number], turn, SIDES[scale]))
        return self._turned[key]

    def fit(self, first: int, second: int, scale: str = "middle") -> TurnedFit:
        """Fit of the second picture on the first, in the turn that suits it best."""
        key = (first, second, scale)
        if key not in self._fits:
            self._fits[key] = self._found(first, second, scale)
        return self._fits[key]

    def _found(self, first: int, second: int, scale: str) -> TurnedFit:
        if scale == "coarse":
            turns = [self.search.found(first, second)]
            on_reference = {first, second} <= self.lying.keys()
            if on_reference:
                turns.append(self.lying[second].turn.after(self.lying[first].turn))
            straight = self._best(first, second, turns)
            if on_reference or straight.turn in FLIPS:
                return straight
            return self._climbed(first, second, scale, straight, CLOSE)
        before = self.fit(first, second, "coarse" if scale == "middle" else "middle")
        turn = before.turn
        straight = self._at(first, second, scale, turn, before.fit)
        if scale == "fine" or turn in FLIPS:
            return straight
        return self._climbed(first, second, scale, straight, CLOSER)

    def _start(self, first: int, second: int, turn: Turn) -> Registration:
        one = spectrum(self._pictures[first].coarse)
        other = spectrum(turned_contrast(self._pictures[second], turn, COARSE))
        _, shifts = best_shifts(one, other[None])
        down, across = shifts[0].tolist()
        return Registration(AxisOverlap(1.0, down), AxisOverlap(1.0, across), 0.0)

    def _at(
        self, first: int, second: int, scale: str, turn: Turn, start: Registration
    ) -> TurnedFit:
        one = self._plane(first, Turn(), scale)
        other = self._plane(second, turn, scale)
        return TurnedFit(turn, refined(one, other, start))

    def _best(self, first: int, second: int, turns: Sequence[Turn]) -> TurnedFit:
        """Best coarse fit of some turns, of which an earlier one may be repeated."""
        tried = [
            self._at(first, second, "coarse", turn, self._start(first, second, turn))
            for turn in dict.fromkeys(turns)
        ]
        return max(tried, key=lambda one: one.fit.correlation)

    def _climbed(
        self, first: int, second: int, scale: str, straight: TurnedFit, step: float
    ) -> TurnedFit:
        """Better the degrees of a turn by the parabola through three of them."""
        tried = [
            self._at(first, second, scale, straight.turn.by(degrees), straight.fit)
            for degrees in (-step, step)
        ]
        low, high = (one.fit.correlation for one in tried)
        bend = low + high - 2 * straight.fit.correlation
        if bend < 0:
            degrees = float(np.clip(step * (low - high) / (2 * bend), -step, step))
            turn = straight.turn.by(degrees)
            tried.append(self._at(first, second, scale, turn, straight.fit))
        return max([straight, *tried], key=lambda one: one.fit.correlation)

    def explaining(self, first: int, second: int) -> list[int]:
        """Pictures that resemble the first one, in any turn, as any picture of the product may."""
        order = np.argsort(-self.search.likeness[first], kind="stable").tolist()
        others = [number for number in order if number not in (first, second)]
        skipped = max(EXPLAINING, math.ceil(PASSED_OVER * len(order)))
        skipped = min(skipped, max(len(others) - EXPLAINING, 0))
        return others[skipped : skipped + EXPLAINING]

    def own(self, first: int, second: int) -> float | None:
        """Agreement in what others do not explain, None where it is not that of a copy."""
        side = min(self._pictures[n].smallest_side for n in (first, second))
        return agreement_of_copy(lambda scale: self._own(first, second, scale), side)

    def _own(self, first: int, second: int, scale: str) -> float:
        one = self._plane(first, Turn(), scale)
        moved = []
        top, left, bottom, right = 0, 0, *one.shape
        for number in [second, *self.explaining(first, second)]:
            lies = self.fit(first, number, scale)
            plane, (rows, columns) = laid_on(self._plane(number, lies.turn, scale), lies.fit)
            moved.append(plane)
            top, bottom = max(top, rows.start), min(bottom, rows.stop)
            left, right = max(left, columns.start), min(right, columns.stop)
        seen = [plane[top:bottom, left:right].ravel() for plane in (one, *moved)]
        if seen[0].size < one.size / 4:
            return 0.0
        return partial_correlation(seen[0], seen[1], seen[2:])

    def on_reference(self) -> NDArray[np.float32]:
        """Lay pictures on the one that resembles most, and correlate what is usual to none.

        Returns
        -------
        (n, n) float32 correlations once the mean of all is taken off, -1 where one lies not on it.
        """
        count = len(self._pictures)
        reference = int(self.search.likeness.sum(axis=1).argmax())
        own = self._plane(reference, Turn(), "coarse")
        left = np.zeros((count, own.size), np.float32)
        for number in range(count):
            lies = self._on(reference, number)
            if lies.fit.correlation >= LIES:
                self.lying[number] = lies
                plane = self._plane(number, lies.turn, "coarse")
                left[number] = laid_on(plane, lies.fit)[0].ravel()
        if 2 * len(self.lying) < count:
            self.lying.clear()  # parts that do not lie alike are told apart without it
            return np.full((count, count), -1.0, np.float32)
        lying = list(self.lying)
        left[lying] -= left[lying].mean(axis=0)
        left /= np.linalg.norm(left, axis=1, keepdims=True).clip(1e-6)
        grain: NDArray[np.float32] = left @ left.T
        np.fill_diagonal(grain, -1.0)
        return grain

    def _on(self, reference: int, number: int) -> TurnedFit:
        """Fit on the reference: as it lies, in the likest turn, and from there by degrees."""
        if number == reference:
            still = Registration(AxisOverlap(), AxisOverlap(), 1.0)
            return TurnedFit(Turn(), still)
        likest = self.search.found(reference, number)
        flip = self._best(reference, number, [likest])
        straight = self._best(reference, number, [Turn()])
        if max(flip.fit.correlation, straight.fit.correlation) < ALIKE:
            return straight
        if likest.degrees and flip.fit.correlation > straight.fit.correlation:
            straight = flip
        lies = self._climbed(reference, number, "coarse", straight, 2 * CLOSE)
        if abs(lies.turn.degrees) > EXACT:
            lies = self._climbed(reference, number, "coarse", lies, CLOSE)
        # Of a part that is its own mirror image all are laid the same way round.
        return flip if flip.fit.correlation > lies.fit.correlation + MORE else lies


def turned_copies(
    pictures: Sequence[ContrastPyramid], known: Iterable[tuple[int, int]]
) -> list[NearCopy]:
    """Find training pictures that are copies of others, mirrored, turned or shifted in whole sets.

    Parameters
    ----------
    pictures
        Training pictures.
    known
        Pairs that were found before, which are not looked at again.
    """
    if len(pictures) < 3:
        return []
    search = TurnSearch(pictures)
    laid = TurnedPictures(pictures, search)
    by_turn = np.where(search.likeness > search.upright + MORE, search.likeness, -1.0)
    grain = laid.on_reference()
    lying = list(laid.lying)
    by_turn[np.ix_(lying, lying)] = -1.0
    pairs = _likest(by_turn, ALIKE) | _likest(grain, GRAIN, FINALISTS)
    coarse = np.full_like(by_turn, -1.0)
    for first, second in pairs:
        reached = laid.fit(first, second, "coarse").fit.correlation
        coarse[first, second] = coarse[second, first] = reached
    pairs = _likest(coarse, RESEMBLES, FINALISTS) | _likest(search.in_place, SAME, FINALISTS)
    found = []
    for first, second in sorted(pairs - set(known)):
        lies = laid.fit(first, second)
        if lies.fit.correlation < AGREES:
            continue
        if not (pictures[first].distinctive and pictures[second].distinctive):
            continue
        own = laid.own(first, second)
        if own is not None:
            found.append(NearCopy(first, second, lies.fit, own, lies.turn))
    return found


def _likest(
    likeness: NDArray[np.float32], least: float, count: int = LIKEST
) -> set[tuple[int, int]]:
    best = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
    return {
        (min(row, int(column)), max(row, int(column)))
        for row, columns in enumerate(best)
        for column in columns
        if likeness[row, column] >= least
    }
