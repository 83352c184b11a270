"""Evidence that an eight-bit engine judges as the float engine does, without any real defect.

On images of good parts that no range was measured on, and on the same with synthetic defects: how
the order of scores survives (Spearman's rank correlation) and how many verdicts change.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from cad_edge.errors import CertificateError
from cad_edge.store.manifest import Quantisation

Array = np.ndarray[Any, np.dtype[Any]]

SMALLEST_RANK_CORRELATION = 0.9
LARGEST_FLIP_RATE = 0.05


@dataclass(frozen=True)
class EngineScores:
    """Scores (n,) of one engine on the images of one task."""

    measured: Array
    """Good parts that ranges were measured on."""
    normal: Array
    """Good parts kept for the evidence."""
    defective: Array
    """The latter with synthetic defects."""


def weigh(
    float_scores: EngineScores,
    quantised_scores: EngineScores,
    threshold: float,
    kept: list[str],
    calibration_images: int,
) -> Quantisation:
    """Compare the engines.

    Rounding moves all scores of a task by nearly the same amount, which the images that ranges were
    measured on tell; thresholds move by it, and what is left is compared.
    """
    shift = float(np.mean(quantised_scores.measured - float_scores.measured))
    pairs = (
        (float_scores.normal, quantised_scores.normal),
        (float_scores.defective, quantised_scores.defective),
    )
    flips = [int(((one > threshold) != (other - shift > threshold)).sum()) for one, other in pairs]
    both = [np.concatenate(side) for side in zip(*pairs, strict=True)]
    return Quantisation(
        calibration_images=calibration_images,
        evidence_normal=len(float_scores.normal),
        evidence_defective=len(float_scores.defective),
        kept_in_float=sorted(kept),
        score_shift=shift,
        rank_correlation=float(spearmanr(both[0], both[1]).statistic),
        smallest_rank_correlation=SMALLEST_RANK_CORRELATION,
        flips_normal=flips[0],
        flips_defective=flips[1],
        largest_flip_rate=LARGEST_FLIP_RATE,
    )


def holds(evidence: Quantisation) -> bool:
    """Whether the evidence is within its limits; one image may flip where there are few."""
    images = evidence.evidence_normal + evidence.evidence_defective
    flips = evidence.flips_normal + evidence.flips_defective
    ordered = evidence.rank_correlation >= evidence.smallest_rank_correlation
    return ordered and flips <= flips_allowed(images, evidence.largest_flip_rate)


def flips_allowed(images: int, rate: float) -> int:
    """Return how many of so many verdicts may change."""
    return max(1, int(rate * images))


def require(evidence: Quantisation, task: str, precision: str) -> None:
    """Raise CertificateError unless `holds`."""
    if holds(evidence):
        return
    raise CertificateError(
        f"task {task}: {precision} changes what the engine says (rank correlation of scores "
        f"{evidence.rank_correlation:.3f}, at least {evidence.smallest_rank_correlation}; "
        f"{evidence.flips_normal} of {evidence.evidence_normal} good and "
        f"{evidence.flips_defective} of {evidence.evidence_defective} defective verdicts flip, at "
        f"most {evidence.largest_flip_rate:.0%}); nothing was written, export it with "
        "--precision fp32"
    )
