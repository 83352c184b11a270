"""What a line asks first: defects found and good parts rejected, by the verdicts of the device.

A part is rejected by any verdict but ``normal``. Beside the threshold in force stands the *perfect*
one: placed by the test's own good parts, so low that it just keeps to the stated false-reject rate
among them. No device can have it, since it needs the answers; it says what the scores are worth
where calibration does not come between.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cad_edge_benchmarks.instruments.proportion import Count, Interval

UNKNOWN = "unknown_product"


@dataclass(frozen=True)
class Outcome:
    """What one test image came to; ``routed`` says that its own task was recognised."""

    anomalous: bool
    routed: bool
    verdict: str
    score: float
    """Calibrated; +inf for an ``unknown_product`` verdict."""

    @property
    def rejected(self) -> bool:
        """Whether a line takes the part out."""
        return self.verdict != "normal"


@dataclass(frozen=True)
class Verdicts:
    """Figures of the verdicts on some test images, the headline first; None where undefined."""

    detection_rate: float | None
    """Share of defective images that are rejected."""
    false_reject_rate: float | None
    """Share of good images that are rejected."""
    false_reject_interval: Interval | None
    """Two-sided 95 % Clopper-Pearson interval of that share."""
    detection_rate_perfect: float | None
    """Share of defective images that the same scores find with the perfect threshold."""
    lost_by_calibration: float | None
    """That share less the detection rate. It is negative where the threshold in force finds more
    because it rejects more good images than stated, or where images that another product's
    threshold judged made the difference."""
    found_of_perfect: float | None
    """Detection rate as a fraction of the perfect one; above 1 where the loss is negative."""
    unknown_normal: float | None
    """Share of good images with the verdict ``unknown_product``."""
    unknown_defective: float | None
    """The same share of defective images."""
    images_normal: int
    images_defective: int

    @property
    def found(self) -> Count:
        """Defective images that are rejected."""
        return Count.of(self.detection_rate, self.images_defective)

    @property
    def false_rejects(self) -> Count:
        """Good images that are rejected."""
        return Count.of(self.false_reject_rate, self.images_normal)

    @property
    def found_perfectly(self) -> Count:
        """Defective images that the perfect threshold finds."""
        return Count.of(self.detection_rate_perfect, self.images_defective)


def judge_verdicts(outcomes: Sequence[Outcome], rate: float) -> Verdicts:
    """Turn the outcomes of one task's test images into figures.

    Parameters
    ----------
    outcomes
        Of all its test images.
    rate
        Stated false-reject rate, in (0, 1).
    """
    good = [one for one in outcomes if not one.anomalous]
    bad = [one for one in outcomes if one.anomalous]
    found, nothing = _count(one.rejected for one in bad), Count(0, 0)
    perfect = nothing
    if good:
        limit = perfect_threshold([one.score for one in good], rate)
        perfect = _count(one.score > limit for one in bad)
    return _figures(
        found=found,
        rejected=_count(one.rejected for one in good),
        perfect=perfect,
        compared=found if good else nothing,
        unknown_normal=_count(one.verdict == UNKNOWN for one in good),
        unknown_defective=_count(one.verdict == UNKNOWN for one in bad),
    )


def perfect_threshold(good: Sequence[float], rate: float) -> float:
    """Lowest threshold above which no more than floor(rate * n) of the n scores ``good`` lie.

    A score that equals the threshold is not rejected, as on the device. Where more good parts than
    that were refused as unknown, which counts as +inf, the threshold is +inf and finds nothing.
    """
    allowed = math.floor(rate * len(good) + 1e-9)  # 0.29 * 100 is 28.999999999999996
    return sorted(good, reverse=True)[min(allowed, len(good) - 1)]


def pooled(tasks: Iterable[Verdicts]) -> Verdicts:
    """Figures over all images of several tasks, each image counting the same."""
    every = list(tasks)
    return _figures(
        found=_sum(one.found for one in every),
        rejected=_sum(one.false_rejects for one in every),
        perfect=_sum(one.found_perfectly for one in every),
        # Every task has its own perfect threshold, so those that have none are not compared.
        compared=_sum(one.found for one in every if one.detection_rate_perfect is not None),
        unknown_normal=_sum(Count.of(one.unknown_normal, one.images_normal) for one in every),
        unknown_defective=_sum(
            Count.of(one.unknown_defective, one.images_defective) for one in every
        ),
    )


def _figures(
    found: Count,
    rejected: Count,
    perfect: Count,
    compared: Count,
    unknown_normal: Count,
    unknown_defective: Count,
) -> Verdicts:
    """Lay out counts as shares; ``compared`` is ``found`` among the images of ``perfect``."""
    lost = perfect.hits - compared.hits
    return Verdicts(
        detection_rate=found.share,
        false_reject_rate=rejected.share,
        false_reject_interval=rejected.interval,
        detection_rate_perfect=perfect.share,
        lost_by_calibration=lost / perfect.total if perfect.total else None,
        found_of_perfect=compared.hits / perfect.hits if perfect.hits else None,
        unknown_normal=unknown_normal.share,
        unknown_defective=unknown_defective.share,
        images_normal=rejected.total,
        images_defective=found.total,
    )


def verdict_f1(outcomes: Iterable[Outcome]) -> float | None:
    """F1 of the verdicts, 2 TP / (2 TP + FP + FN); None without images of both classes."""
    every = list(outcomes)
    found = _count(one.rejected for one in every if one.anomalous)
    rejected = _count(one.rejected for one in every if not one.anomalous)
    if not found.total or not rejected.total:
        return None
    return 2 * found.hits / (found.hits + rejected.hits + found.total)


def share(flags: Iterable[bool]) -> float | None:
    """Share of true flags; None without any flag."""
    return _count(flags).share


def _count(flags: Iterable[bool]) -> Count:
    values = list(flags)
    return Count(sum(values), len(values))


def _sum(counts: Iterable[Count]) -> Count:
    return sum(counts, Count(0, 0))
