"""Ranking metrics: AUROC, average precision and the partial area behind AUPRO, all exact.

Every metric here is a sum over the distinct scores of the positives. Between two of them only
negatives are crossed, so the curve runs level, and where a positive and a negative share a score
it runs straight between the two corners. No threshold grid is involved and an area below 0.5
stays below 0.5. With one class missing a metric is undefined, which is None and never a number.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Ranking:
    """Positives and negatives in falling order of score, at the distinct positive scores.

    Attributes
    ----------
    gain : (n_steps,) float64
        Weight of the positives at each distinct positive score, highest score first.
    false_above, false_reached : (n_steps,) float64
        Number of negatives scored strictly above that score, and at or above it.
    negatives : int
        Number of negatives.
    """

    gain: npt.NDArray[np.float64]
    false_above: npt.NDArray[np.float64]
    false_reached: npt.NDArray[np.float64]
    negatives: int

    def auroc(self) -> float:
        """Chance that a positive outranks a negative, a tie counting half."""
        outranked = self.negatives - (self.false_above + self.false_reached) / 2
        return float(self.gain @ outranked / (self.gain.sum() * self.negatives))

    def average_precision(self) -> float:
        """Precision at each score, weighted by the recall that the score adds."""
        reached = np.cumsum(self.gain)
        return float(self.gain @ (reached / (reached + self.false_reached)) / reached[-1])

    def partial_area(self, limit: float) -> float:
        """Mean height of the curve over false positive rates from 0 to ``limit``."""
        height = np.concatenate([[0.0], np.cumsum(self.gain) / self.gain.sum()])
        x = np.empty(2 * len(self.gain) + 2)
        y = np.empty_like(x)
        x[0], x[-1], y[0] = 0.0, 1.0, 0.0
        x[1:-1:2], x[2:-1:2] = (
            self.false_above / self.negatives,
            self.false_reached / self.negatives,
        )
        y[1::2], y[2::2] = height, height[1:]
        return _area_up_to(x, y, limit) / limit


def _area_up_to(x: Floats, y: Floats, limit: float) -> float:
    """Area under the polyline (x, y), x non-decreasing from 0 to 1, for x from 0 to ``limit``."""
    width = np.diff(x)
    kept = np.minimum(x[1:], limit) - np.minimum(x[:-1], limit)
    slope = np.divide(np.diff(y), width, out=np.zeros_like(width), where=width > 0)
    return float(np.sum(kept * (y[:-1] + slope * kept / 2)))


def rank(positives: Floats, negatives: Floats, weights: Floats | None = None) -> Ranking | None:
    """Rank scores of two classes; None when either class is empty.

    Parameters
    ----------
    positives : (n_positives,) floating
        Scores of anomalous items; infinities are allowed.
    negatives : (n_negatives,) floating
        Scores of normal items, of the same dtype as ``positives``. **Sorted in place**, because a
        copy of all normal pixels of a test set would double the memory.
    weights : (n_positives,) floating, optional
        Weight of each positive, 1 without it.

    Raises
    ------
    ValueError
        A score is NaN.
    """
    if np.isnan(positives).any() or np.isnan(negatives).any():
        raise ValueError("a score is NaN, so the images have no order; look at the graph's output")
    if not len(positives) or not len(negatives):
        return None
    negatives.sort()
    steps, gain = _steps(positives, weights)
    count = len(negatives)
    above = count - np.searchsorted(negatives, steps, side="right")
    reached = count - np.searchsorted(negatives, steps, side="left")
    return Ranking(gain, above.astype(np.float64), reached.astype(np.float64), count)


def _steps(positives: Floats, weights: Floats | None) -> tuple[Floats, npt.NDArray[np.float64]]:
    """Distinct scores, highest first, and the weight of the positives at each."""
    if weights is None:
        steps, counts = np.unique(positives, return_counts=True)
        return steps[::-1], counts[::-1].astype(np.float64)
    order = np.argsort(positives)
    ascending = positives[order]
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    gain = np.add.reduceat(weights[order], starts, dtype=np.float64)
    return ascending[starts][::-1], gain[::-1]


def image_auroc(labels: npt.NDArray[np.bool_], scores: Floats) -> float | None:
    """Area under the ROC curve; None when ``labels`` holds one class only.

    Parameters
    ----------
    labels : (n_images,) bool
        True for anomalous.
    scores : (n_images,) floating
        Higher is more anomalous; infinite scores are the highest and tie with one another.
    """
    ranking = rank(scores[labels], scores[~labels])
    return None if ranking is None else ranking.auroc()


def image_ap(labels: npt.NDArray[np.bool_], scores: Floats) -> float | None:
    """Average precision; arguments and None as in `image_auroc`."""
    ranking = rank(scores[labels], scores[~labels])
    return None if ranking is None else ranking.average_precision()


def mean_defined(values: list[float | None]) -> float | None:
    """Mean of the defined values; None when there is none."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
