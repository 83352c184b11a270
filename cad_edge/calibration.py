"""Thresholds, p-values and outliers from held-out images of good parts.

For exchangeable normals, rejecting above the k-th smallest of n held-out scores with
k = ceil((n + 1)(1 - rate)) rejects a new normal with probability at most ``rate`` (Vovk et al.,
Algorithmic Learning in a Random World; Lei et al. 2018, Theorem 2.2). Where k reaches n, the
threshold would hang on one image, and the upper half is taken for exponential. Figures:
docs/decisions/0006-calibration.md.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cad_edge.errors import OptionError
from cad_edge.schema import MAXIMUM_COUNT, Count, OmitDefaults, Positive, Record, Score

TAIL_SHARE = 0.5  # of the scores, the highest, to which the exponential tail is fitted
TAIL_REACH = 0.1  # of the smallest rate that n scores support: how far the tail is trusted
TAIL_SCORES = 5  # at least so many of them
OUTLIER_SIGNIFICANCE = 0.05  # chance that the largest score of n good parts is called an outlier
OUTLIER_SHARE = 0.1  # of the held-out images, at most so many are left out
OUTLIER_IMAGES = 8  # fewer say nothing about what is odd among them

Float64 = NDArray[np.float64]


class Outlier(Record):
    """A good part that does not look like the others; see `find_outliers`."""

    image: str | None = Field(
        max_length=5000, description="path below the product's folder; None: not known"
    )
    score: Score
    robust_z: float = Field(description="(score - median) / (1.4826 MAD) of all held-out scores")


class Calibration(OmitDefaults):
    """Scores of held-out normals; no image of a test set ever enters."""

    RARE: ClassVar[frozenset[str]] = frozenset(
        {"groups", "outliers", "keep_outliers", "map_quartiles"}
    )

    scheme: Literal["split", "cross"] = Field(
        description="split: held-out images never seen in learning; cross: every image scored by a "
        "model learned without its fold"
    )
    folds: Positive = Field(description="1 for split")
    scores: list[Score] = Field(min_length=1, fail_fast=True, description="image scores, ascending")
    map_peaks: list[Score] = Field(
        fail_fast=True, description="largest anomaly-map value per image, ascending"
    )
    groups: Positive | None = Field(
        default=None,
        description="groups of images that the held-out scores come from; None: every image stands "
        "for itself",
    )
    outliers: list[Outlier] = Field(
        default=[],
        fail_fast=True,
        description="odd ones among the good parts, the highest score first",
    )
    keep_outliers: bool = Field(
        default=False, description="whether they are among `scores` and `map_peaks` all the same"
    )
    map_quartiles: list[Score] = Field(
        fail_fast=True,
        default=[],
        description="lower quartile of the anomaly map per image, ascending; none: the product is "
        "recognised by distance alone",
    )


class Decision(OmitDefaults):
    """What the device decides with; changed by `cad-edge threshold` without a new export."""

    RARE: ClassVar[frozenset[str]] = frozenset({"groups"})

    false_reject_rate: float = Field(gt=0, lt=1, description="stated by the user")
    threshold: float = Field(description="a score above it is anomalous")
    map_threshold: float | None = Field(description="a map value above it belongs to a defect")
    minimum_area: Count = Field(default=0, description="smallest defect, in original pixels")
    images: Count = Field(description="held-out normals behind the threshold")
    images_needed: Count = Field(
        description="held-out normals, or groups of them, that the stated rate needs"
    )
    groups: Positive | None = Field(
        default=None, description="groups of those normals; None: each stands for itself"
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


def require_rate(rate: float, images: int, groups: int | None, task: str) -> None:
    """Refuse a false-reject rate that not even the fitted tail can stand for.

    Raises
    ------
    OptionError
        The rate is under a tenth of the smallest one that the images, or their groups, support.
    """
    count = images if groups is None else min(images, groups)
    smallest = TAIL_REACH / (count + 1)
    if rate < smallest:
        what = "images of good parts" if groups is None else "groups of good parts"
        raise OptionError(
            f"{task}: a false-reject rate of {rate:g} is beyond what {count} {what} can say; state "
            f"at least {smallest:.2g}, or give {images_needed(rate)} of them"
        )


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
    return scores[min(_rank(count, rate), count) - 1]


def decision_threshold(scores: Sequence[float], rate: float) -> float:
    """Threshold that a device decides with: an order statistic, or the tail where one score rules.

    The order statistic is that of `conformal_threshold`. Where it would be the largest score
    itself, it hangs on a single image; then the upper half of the scores is taken for exponential
    above the score u below it, with the mean excess b (Pickands 1975, shape 0): with a share p of
    the scores above u, a share ``rate`` lies above u + b ln(p / rate).

    Parameters
    ----------
    scores
        Held-out normal scores, ascending, at least one.
    rate
        Stated false-reject rate in (0, 1).

    Returns
    -------
    float
        Never falls when ``rate`` does.

    Examples
    --------
    >>> decision_threshold([1.0, 2.0, 3.0, 4.0], 0.5)
    3.0
    """
    count = len(scores)
    above = min(max(round(TAIL_SHARE * count), TAIL_SCORES), count - 1)
    if _rank(count, rate) < count or above < 1:
        return conformal_threshold(scores, rate)
    start = scores[count - above - 1]
    mean = sum(scores[count - above :]) / above - start
    return max(scores[-2], start + mean * math.log(above / (count + 1) / rate))


def _rank(count: int, rate: float) -> int:
    """Rank k = ceil((n + 1)(1 - rate)), from 1; above n where n scores are too few."""
    return max(math.ceil((count + 1) * (1 - rate) - 1e-9), 1)


def find_outliers(scores: Sequence[float] | Float64) -> NDArray[np.bool_]:
    """Tell which held-out scores are too high for good parts that are all of one kind.

    The upper half of the scores is taken for exponential above the median m, with the mean b that
    its own median gives, b = (upper quartile - m) / ln 2; the largest of n / 2 such scores lies
    above m + b (ln(n / 2) + ln(1 / a)) with a chance of about a = 5 %. What lies above is an
    outlier, up to a tenth of all. Median and quartile do not move with a few odd images.

    Parameters
    ----------
    scores
        Of held-out images of good parts, in any order.

    Returns
    -------
    NDArray
        (n,) bool, in the order of ``scores``; nothing is an outlier among fewer than 8 scores, or
        where half of them are equal.
    """
    values = np.asarray(scores, dtype=np.float64)
    found = np.zeros(len(values), dtype=np.bool_)
    if len(values) < OUTLIER_IMAGES:
        return found
    median, quartile = np.quantile(values, (0.5, 0.75))
    mean = (quartile - median) / math.log(2)
    if mean <= 0:
        return found
    reach = math.log(len(values) / 2) + math.log(1 / OUTLIER_SIGNIFICANCE)
    order = np.argsort(-values, kind="stable")[: int(OUTLIER_SHARE * len(values))]
    found[order] = values[order] > median + mean * reach
    return found


def robust_z(scores: Sequence[float] | Float64) -> Float64:
    """(score - median) / (1.4826 median absolute deviation), (n,); 0 where none deviates."""
    values = np.asarray(scores, dtype=np.float64)
    centred = values - np.median(values)
    deviation = 1.4826 * float(np.median(np.abs(centred)))
    return centred / deviation if deviation > 0 else np.zeros_like(centred)


def lower_quartile(maps: NDArray[Any]) -> Float64:
    """Value below which a quarter of each anomaly map lies.

    A defect raises a part of a map, another product raises all of it.

    Parameters
    ----------
    maps
        (n, h, w) float32.

    Returns
    -------
    NDArray
        (n,) float64.
    """
    flat = maps.reshape(len(maps), -1)
    place = flat.shape[1] // 4
    return np.asarray(np.partition(flat, place, axis=1)[:, place], dtype=np.float64)


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
    """Turn held-out scores and a stated rate into thresholds.

    Raises
    ------
    OptionError
        The smallest area is none that an image can have.
    """
    if not 0 <= minimum_area <= MAXIMUM_COUNT:
        raise OptionError(
            f"a smallest defect of {minimum_area} pixels is not allowed; give 0 or more, and fewer "
            "than an image has"
        )
    peaks = calibration.map_peaks
    return Decision(
        false_reject_rate=rate,
        threshold=decision_threshold(calibration.scores, rate),
        map_threshold=decision_threshold(peaks, rate) if peaks else None,
        minimum_area=minimum_area,
        images=len(calibration.scores),
        images_needed=images_needed(rate),
        groups=calibration.groups,
    )
