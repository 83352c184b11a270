"""Figures of settings on one split of the test images, and how far off they may lie.

Images are drawn again (a bootstrap), good and defective ones apart, so that every draw has as many
of each. All settings are judged on the same draws, so the spread of a difference leaves out what
both share.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cad_edge.schema import TaskName
from cad_edge_benchmarks.advise.predictions import Predictions, SplitPredictions
from cad_edge_benchmarks.advise.schema import Accuracy, Share
from cad_edge_benchmarks.advise.validation_split import SplitName, SplitStream, seed_of
from cad_edge_benchmarks.instruments.metrics import image_auroc, mean_defined

DRAWS = 1000

Scores = NDArray[np.float64]


class SplitMetrics:
    """Figures on one split of the test images of all products.

    Parameters
    ----------
    data
        The products.
    split
        Which split.
    seed
        Of the draws.
    """

    def __init__(self, data: SplitStream, split: SplitName, seed: int) -> None:
        self._split: SplitName = split
        self._weights = {}
        for name, product in data.products.items():
            images = product.split(split)
            labels = np.array([one.image.anomalous for one in images], dtype=np.bool_)
            origins = [one.origin for one in images]
            self._weights[name] = draw_weights(origins, labels, seed_of(seed, name))

    def accuracy(self, predictions: Predictions) -> Accuracy:
        """Figures of one setting."""
        tasks = self._tasks(predictions)
        by_task = {name: _auroc(one) for name, one in tasks.items()}
        return Accuracy(
            image_auroc=sum(by_task.values()) / len(by_task),
            error=spread(self.draws(predictions)),
            pixel_auroc=mean_defined([one.pixel_auroc for one in tasks.values()]),
            routed_good=_routed(tasks.values(), anomalous=False),
            routed_defective=_routed(tasks.values(), anomalous=True),
            by_task=by_task,
        )

    def draws(self, predictions: Predictions) -> Scores:
        """Mean image AUROC of every draw, (draws,) float64."""
        tasks = [
            drawn_auroc(one.values(), one.labels(), self._weights[name])
            for name, one in self._tasks(predictions).items()
        ]
        found: Scores = np.mean(tasks, axis=0)
        return found

    def errors(self, predictions: Mapping[str, Predictions]) -> Callable[[str, str], float]:
        """Give the standard error of the difference between two settings, by their names."""
        draws = {name: self.draws(one) for name, one in predictions.items()}
        return lambda first, second: spread(draws[first] - draws[second])

    def _tasks(self, predictions: Predictions) -> dict[TaskName, SplitPredictions]:
        return {name: one.split(self._split) for name, one in predictions.tasks.items()}


def _auroc(predictions: SplitPredictions) -> float:
    found = image_auroc(predictions.labels(), predictions.values())
    assert found is not None, "splits hold images of both classes"
    return found


def _routed(tasks: Iterable[SplitPredictions], anomalous: bool) -> Share:
    flags = [
        routed
        for one in tasks
        for routed, label in zip(one.routed, one.anomalous, strict=True)
        if label == anomalous
    ]
    return Share(hits=sum(flags), total=len(flags))


def draw_weights(
    origins: Sequence[str], anomalous: NDArray[np.bool_], seed: int, draws: int = DRAWS
) -> NDArray[np.int64]:
    """Draw how often each image counts.

    Parameters
    ----------
    origins
        Photograph that each image comes from; images of one photograph count alike.
    anomalous : (n,) bool
        Which images are defective.
    seed
        Of the draws.
    draws
        How many.

    Returns
    -------
    (draws, n) int64
    """
    classes: dict[str, set[bool]] = {}
    for origin, label in zip(origins, anomalous.tolist(), strict=True):
        classes.setdefault(origin, set()).add(label)
    rng = np.random.default_rng(seed)
    weights = np.empty((draws, len(origins)), dtype=np.int64)
    for stratum in sorted({frozenset(one) for one in classes.values()}, key=sorted):
        names = [origin for origin, found in classes.items() if found == stratum]
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        column = {name: at for at, name in enumerate(names)}
        for at, origin in enumerate(origins):
            if origin in column:
                weights[:, at] = counts[:, column[origin]]
    return weights


def drawn_auroc(scores: Scores, anomalous: NDArray[np.bool_], weights: NDArray[np.int64]) -> Scores:
    """AUROC of every draw.

    Parameters
    ----------
    scores : (n,) float64
        Higher is more anomalous; infinite ones tie with one another.
    anomalous : (n,) bool
        Which images are defective; both kinds are there.
    weights : (draws, n) int64
        From `draw_weights`.

    Returns
    -------
    (draws,) float64
    """
    bad, good = scores[anomalous], scores[~anomalous]
    outranked = (bad[:, None] > good) + 0.5 * (bad[:, None] == good)
    bad_weights, good_weights = weights[:, anomalous], weights[:, ~anomalous]
    pairs = bad_weights.sum(axis=1) * good_weights.sum(axis=1)
    found: Scores = ((bad_weights @ outranked) * good_weights).sum(axis=1) / pairs
    return found


def drawn_found(
    scores: Scores, anomalous: NDArray[np.bool_], weights: NDArray[np.int64], rate: float
) -> Scores:
    """Share of defects that every draw finds, if it may reject a share of its good images.

    The threshold is the lowest one above which no more than ``rate`` of the good images lie
    (`perfect_threshold` of the verdicts), so that all that is compared rejects alike.

    Parameters
    ----------
    scores, anomalous, weights
        As in `drawn_auroc`.
    rate
        Stated false-reject rate, in (0, 1).

    Returns
    -------
    (draws,) float64

    Examples
    --------
    >>> once = np.ones((1, 4), dtype=np.int64)
    >>> drawn_found(np.arange(4.0), np.array([0, 1, 0, 1]) == 1, once, rate=0.1)
    array([0.5])
    """
    good = np.sort(scores[~anomalous])[::-1]
    order = np.argsort(-scores[~anomalous], kind="stable")
    above = weights[:, ~anomalous][:, order].cumsum(axis=1)
    allowed = np.floor(rate * above[:, -1:] + 1e-9)
    thresholds = good[(above > allowed).argmax(axis=1)]
    counts = weights[:, anomalous]
    hits = (counts * (scores[anomalous] > thresholds[:, None])).sum(axis=1)
    found: Scores = hits / counts.sum(axis=1)
    return found


def spread(draws: Scores) -> float:
    """Estimate the standard error from ``draws`` (n,) float64 of a figure or of a difference."""
    return float(draws.std(ddof=1))
