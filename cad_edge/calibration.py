"""Split conformal thresholds and p-values from held-out images of good parts.

A score threshold is an order statistic of n held-out normal scores. For exchangeable normals,
rejecting above the k-th smallest with k = ceil((n + 1)(1 - rate)) rejects a new normal with
probability at most ``rate`` (Vovk et al., Algorithmic Learning in a Random World; Lei et al. 2018,
Theorem 2.2). k > n means that n images cannot support the rate.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from cad_edge.schema import Sparing


class Calibration(Sparing):
    """Scores of held-out normals; no image of a test set ever enters."""

    RARE: ClassVar[frozenset[str]] = frozenset({"groups"})

    scheme: Literal["split", "cross"] = Field(
        description="split: held-out images never seen in learning; cross: every image scored by a "
        "model learned without its fold"
    )
    folds: int = Field(ge=1, description="1 for split")
    scores: list[float] = Field(min_length=1, description="image scores, ascending")
    map_peaks: list[float] = Field(description="largest anomaly-map value per image, ascending")
    groups: int | None = Field(
        default=None,
        ge=1,
        description="groups of images that the held-out scores come from; None: every image stands "
        "for itself",
    )


class Decision(Sparing):
    """What the device decides with; changed by `cad-edge threshold` without a new export."""

    RARE: ClassVar[frozenset[str]] = frozenset({"groups"})

    false_reject_rate: float = Field(gt=0, lt=1, description="stated by the user")
    threshold: float = Field(description="a score above it is anomalous")
    map_threshold: float | None = Field(description="a map value above it belongs to a defect")
    minimum_area: int = Field(default=0, ge=0, description="smallest defect, in original pixels")
    images: int = Field(description="held-out normals behind the threshold")
    images_needed: int = Field(
        description="held-out normals, or groups of them, that the stated rate needs"
    )
    groups: int | None = Field(
        default=None, ge=1, description="groups of those normals; None: each stands for itself"
    )

    @property
    def supported(self) -> bool:
        """Whether there are enough held-out normals for the stated rate.

        Images of one group are alike, so that the rate needs so many groups, not only images.
        """
        independent = self.images if self.groups is None else min(self.images, self.groups)
        return independent >= self.images_needed


def images_needed(rate: float) -> int:
    """Return the smallest n for which ceil((n + 1)(1 - rate)) <= n, that is n >= 1 / rate - 1."""
    return max(1, math.ceil(1 / rate - 1 - 1e-9))


def conformal_threshold(scores: Sequence[float], rate: float) -> float:
    """Threshold above which at most ``rate`` of new normals fall; the largest score if n is small.

    Parameters
    ----------
    scores
        Held-out normal scores, ascending, at least one.
    rate
        Stated false-reject rate in (0, 1).
    """
    count = len(scores)
    rank = math.ceil((count + 1) * (1 - rate) - 1e-9)
    return scores[min(max(rank, 1), count) - 1]


def p_value(scores: Sequence[float], score: float) -> float:
    """(1 + number of held-out scores at least as large) / (n + 1), in (0, 1]."""
    below = int(np.searchsorted(np.asarray(scores), score, side="left"))
    return (1 + len(scores) - below) / (len(scores) + 1)


def standardise(scores: Sequence[float], score: float) -> float:
    """Score in held-out standard deviations above the held-out mean.

    Strictly increasing in ``score``, hence ranks images of one task as the raw score does, and
    comparable between tasks, which raw scores are not.
    """
    values = np.asarray(scores, dtype=np.float64)
    deviation = float(values.std()) or 1.0
    return (score - float(values.mean())) / deviation


def decide(calibration: Calibration, rate: float, minimum_area: int = 0) -> Decision:
    """Turn held-out scores and a stated rate into thresholds."""
    peaks = calibration.map_peaks
    return Decision(
        false_reject_rate=rate,
        threshold=conformal_threshold(calibration.scores, rate),
        map_threshold=conformal_threshold(peaks, rate) if peaks else None,
        minimum_area=minimum_area,
        images=len(calibration.scores),
        images_needed=images_needed(rate),
        groups=calibration.groups,
    )
