"""Continual metrics over a task matrix.

``matrix`` (stages, items) float64 everywhere: ``matrix[n, i]`` is the score of item i (a task, or
a class of a task) after stage n, NaN before the stage that introduced the item. A column of NaN
alone is an item without that metric (no masks, say) and is left out. Nothing is clipped: negative
forgetting and positive backward transfer are legal.

The three papers that define these write indices that cannot all hold: A-AUROC sums N - 1 items
and divides by N, "1 step" would divide forgetting by 0, Avg is printed with a divisor that its own
table contradicts. Here N counts stages including the first, and every mean is over what it sums.
"""

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def introductions(matrix: Matrix) -> list[int | None]:
    """Return the stage that introduced each item, None for an item without scores.

    Raises
    ------
    ValueError
        The matrix is not two-dimensional, or an item has no score in a stage after its first.
    """
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"a task matrix has shape (stages, items), this one {matrix.shape}")
    defined = ~np.isnan(matrix)
    for item, column in enumerate(defined.T):
        if column.any() and not column[column.argmax() :].all():
            raise ValueError(f"item {item} has no score in a stage after it was introduced")
    return [int(column.argmax()) if column.any() else None for column in defined.T]


def average_auroc(matrix: Matrix) -> float | None:
    """A-AUROC: mean over items after the last stage."""
    final = last(matrix)
    return _mean([float(score) for score in final[~np.isnan(final)]])


def forgetting_measure(matrix: Matrix) -> float | None:
    """FM: mean over items introduced before the last stage of (best score before it - last)."""
    final = len(matrix) - 1
    drops = [
        float(matrix[stage:final, item].max() - matrix[final, item])
        for item, stage in enumerate(introductions(matrix))
        if stage is not None and stage < final
    ]
    return _mean(drops)


def last(matrix: Matrix) -> npt.NDArray[np.float64]:
    """Last_i: each item's score after the last stage, (items,) float64."""
    introductions(matrix)
    return np.array(matrix[-1])


def average_since_introduction(matrix: Matrix) -> npt.NDArray[np.float64]:
    """Avg_i: mean of each item's scores from its own stage to the last, (items,) float64."""
    averages = np.full(matrix.shape[1], np.nan)
    for item, stage in enumerate(introductions(matrix)):
        if stage is not None:
            averages[item] = matrix[stage:, item].mean()
    return averages


def backward_transfer(matrix: Matrix) -> npt.NDArray[np.float64]:
    """BWT_i: mean change of an item over all later stages, (items,), NaN for the newest items."""
    transfer = np.full(matrix.shape[1], np.nan)
    for item, stage in enumerate(introductions(matrix)):
        if stage is not None and stage < len(matrix) - 1:
            transfer[item] = (matrix[stage + 1 :, item] - matrix[stage, item]).mean()
    return transfer


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
