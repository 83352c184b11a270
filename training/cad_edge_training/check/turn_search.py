"""The coarse search for turns: how much small pictures agree, turned and as they lie."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cad_edge_training.check.contrast_pyramid import ContrastPyramid
from cad_edge_training.check.registration import best_shifts, spectrum
from cad_edge_training.check.turns import FLIPS, TURNS, Turn, turned

KEPT = 12  # frequencies a side: what is finer is left to the refinement
SAME = 0.9  # correlation in place of a copy that was mirrored or turned by quarters


class TurnSearch:
    """Coarse correlations of training pictures with each other over `TURNS` and shifts.

    Attributes
    ----------
    likeness
        (n, n) float32 with the best turn, -1 with itself.
    upright
        (n, n) float32 as the pictures lie, -1 with itself.
    in_place
        (n, n) float32 mirrored or turned by quarters without any shift, as copies made by
        augmentation lie; -1 with itself. Parts that lie well agree so with every shift nearly.
    best
        (n, n) number in `TURNS`, of the turn of the second that lays it on the first.
    flip
        (n, n) the same where they agree in place as copies do, else 0.
    """

    def __init__(self, pictures: Sequence[ContrastPyramid]) -> None:
        count = len(pictures)
        self.likeness = np.full((count, count), -1.0, dtype=np.float32)
        self.best = np.zeros((count, count), dtype=np.int64)
        self.flip = np.zeros((count, count), dtype=np.int64)
        plain = np.stack([spectrum(picture.coarse, KEPT) for picture in pictures])
        for number, turn in enumerate(TURNS):
            planes = (turned(one.coarse, turn, one.aspect, order=1) for one in pictures)
            others = np.stack([spectrum(plane, KEPT) for plane in planes])
            undone = TURNS.index(turn.inverse())
            for first in range(count - 1):
                reached, _ = best_shifts(plain[first], others[first + 1 :])
                self._keep(first, (number, undone), reached)
            if number == 0:
                self.upright = self.likeness.copy()
        self.in_place = self._by_flips(pictures)

    def found(self, first: int, second: int) -> Turn:
        """Return the turn of the second that lays it on the first, a copy's flip before others."""
        found: Turn = TURNS[self.flip[first, second] or self.best[first, second]]
        return found

    def _keep(self, first: int, turns: tuple[int, int], reached: NDArray[np.float32]) -> None:
        """Keep what a turn of the second reached; its inverse lays the first on the second."""
        seconds = np.arange(first + 1, len(self.likeness))
        better = seconds[reached > self.likeness[first, seconds]]
        values = reached[better - first - 1]
        self.likeness[first, better] = self.likeness[better, first] = values
        self.best[first, better], self.best[better, first] = turns

    def _by_flips(self, pictures: Sequence[ContrastPyramid]) -> NDArray[np.float32]:
        """Correlate pictures in place in each of `FLIPS`; note where one is that of a copy."""
        plain = np.stack([picture.coarse for picture in pictures])
        plain = plain - plain.mean(axis=(1, 2), keepdims=True)
        plain /= np.linalg.norm(plain, axis=(1, 2), keepdims=True).clip(1e-6)
        flat = plain.reshape(len(plain), -1)
        reached = np.full((len(plain), len(plain)), -1.0, dtype=np.float32)
        for number, turn in enumerate(FLIPS[1:], start=1):
            moved = np.stack([turned(plane, turn, 1.0) for plane in plain])
            alike = flat @ moved.reshape(flat.shape).T
            np.fill_diagonal(alike, -1.0)
            self.flip[(alike > reached) & (alike >= SAME)] = number
            reached = np.maximum(reached, alike)
        return reached
