"""Held-out scores of a method, in the order of the images, and the calibration they become."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cad_edge.calibration import Calibration, Outlier, find_outliers, robust_z
from cad_edge.errors import ArtifactError


@dataclass(frozen=True)
class HeldOutScores:
    """What the finished model says of good parts that it has not learned from."""

    scores: NDArray[np.float64]
    """(n,)"""
    map_peaks: NDArray[np.float64] | None = None
    """(n,) largest value of each anomaly map, for a method that localises."""
    map_quartiles: NDArray[np.float64] | None = None
    """(n,) lower quartile of each anomaly map (`cad_edge.calibration.lower_quartile`)."""


@dataclass(frozen=True)
class HeldOutImages:
    """Which images held-out scores are of."""

    groups: int | None
    """How many groups they are of; None where every image stands for itself."""
    keep_outliers: bool = False
    """Whether odd ones among them have a say in thresholds and scales."""
    names: Sequence[str] | None = None
    """(n,) path of each below its product's folder, where it is known."""

    @staticmethod
    def behind(calibration: Calibration) -> "HeldOutImages":
        """Return the images behind a calibration, as far as it knows them."""
        return HeldOutImages(calibration.groups, calibration.keep_outliers)


def calibrate(
    held_out: HeldOutScores,
    images: HeldOutImages,
    scheme: Literal["split", "cross"] = "split",
    folds: int = 1,
) -> Calibration:
    """Turn held-out scores, in the order of the images, into a calibration.

    Outliers (`cad_edge.calibration.find_outliers`) are named, and have no say unless the images are
    said to keep them.

    Raises
    ------
    ArtifactError
        A score or a map value is NaN or infinite.
    """
    for values in (held_out.scores, held_out.map_peaks, held_out.map_quartiles):
        if values is not None and not np.isfinite(values).all():
            raise ArtifactError(
                "the model gives good parts scores that are NaN or infinite; learn with other "
                "options, e.g. a smaller learning rate"
            )
    odd = find_outliers(held_out.scores)
    used = np.ones_like(odd) if images.keep_outliers else ~odd
    return Calibration(
        scheme=scheme,
        folds=folds,
        scores=_ascending(held_out.scores, used),
        map_peaks=_ascending(held_out.map_peaks, used),
        groups=images.groups,
        outliers=_named(held_out.scores, images, odd),
        keep_outliers=images.keep_outliers,
        map_quartiles=_ascending(held_out.map_quartiles, used),
    )


def _ascending(values: NDArray[Any] | None, used: NDArray[np.bool_]) -> list[float]:
    return [] if values is None else sorted(float(value) for value in values[used])


def _named(
    scores: NDArray[np.float64], images: HeldOutImages, odd: NDArray[np.bool_]
) -> list[Outlier]:
    """Outliers, the highest score first."""
    z = robust_z(scores)
    return [
        Outlier(
            image=None if images.names is None else images.names[place],
            score=float(scores[place]),
            robust_z=float(z[place]),
        )
        for place in sorted(map(int, np.flatnonzero(odd)), key=lambda place: -scores[place])
    ]
