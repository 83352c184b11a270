"""How far an AUROC may lie off by the images that happen to be there: a bootstrap over images.

Images are drawn again, good and defective ones apart, so that every draw has as many of each. All
settings are judged on the same draws, so the spread of a difference leaves out what both share.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000

Scores = NDArray[np.float64]


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


def mean_draws(tasks: Sequence[Scores]) -> Scores:
    """Mean over tasks (draws,) float64, draw by draw."""
    found: Scores = np.mean(tasks, axis=0)
    return found


def spread(draws: Scores) -> float:
    """Estimate the standard error from ``draws`` (n,) float64 of a figure or of a difference."""
    return float(draws.std(ddof=1))
