"""Whether exported engines decide as torch does, and whether both layouts do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cad_edge_runtime import Detection, Detector
from cad_edge_studies.cl_anomaly_comparison.evaluation_images import Scores
from cad_edge_studies.cl_anomaly_comparison.family import LearnedFamily, scores_by

if TYPE_CHECKING:
    from cad_edge_training.methods.cl_anomaly.model import CLAnomaly

Detections = Mapping[str, Sequence[Detection]]
"""Of the test images of every task."""


@dataclass(frozen=True)
class Agreement:
    """Answers compared with others to the same images; a Yes is a score above 0."""

    images: int
    other_decisions: int
    """Images where one says Yes and the other No."""
    largest_difference: float
    """Of the score, the logit of Yes less that of No."""


@dataclass(frozen=True)
class Routing:
    """Where routed images went."""

    unknown: int
    """Taken for a product that the bundle does not know; nothing is said of them."""
    elsewhere: int
    """Taken for another product."""


def inspect(detector: Detector, family: LearnedFamily, routed: bool) -> dict[str, list[Detection]]:
    """Inspect every test image on its own, its task given or recognised."""
    return {
        name: [detector.detect(path, task=None if routed else name) for path in shown.paths]
        for name, shown in family.tests.items()
    }


def inspect_all(
    bundles: Mapping[str, Path], family: LearnedFamily, threads: int
) -> dict[str, dict[str, dict[str, list[Detection]]]]:
    """Inspect with every bundle; detections by layout, by ``given`` or ``routed``, and by task."""
    found = {}
    for layout, bundle in bundles.items():
        with Detector.open(bundle, device="cpu", threads=threads, watch=False) as detector:
            found[layout] = {
                "given": inspect(detector, family, routed=False),
                "routed": inspect(detector, family, routed=True),
            }
    return found


def with_torch(
    detections: Detections, models: Mapping[str, "CLAnomaly"], family: LearnedFamily
) -> Agreement:
    """Compare with torch's reference model of the task that every image was judged as."""
    pairs = []
    for name, some in detections.items():
        # An image of an unknown product is judged by nobody; any model will do for its place.
        expected = scores_by(models, [one.task or name for one in some], family.tests[name])
        known = [row for row, one in enumerate(some) if one.score is not None]
        pairs.append((_scores([some[row] for row in known]), expected[known]))
    return agreement(pairs)


def with_each_other(first: Detections, second: Detections) -> tuple[Agreement, int]:
    """Compare two layouts; also return how many verdicts or recognised products differ."""
    pairs, verdicts = [], 0
    for name, some in first.items():
        others = second[name]
        both = list(zip(some, others, strict=True))
        verdicts += sum((one.verdict, one.task) != (two.verdict, two.task) for one, two in both)
        judged = [(one, two) for one, two in both if None not in (one.score, two.score)]
        pairs.append((_scores(one for one, _ in judged), _scores(two for _, two in judged)))
    return agreement(pairs), verdicts


def agreement(pairs: Sequence[tuple[Scores, Scores]]) -> Agreement:
    """Compare scores (k,) with scores (k,), pair by pair."""
    found = np.concatenate([one for one, _ in pairs])
    expected = np.concatenate([other for _, other in pairs])
    return Agreement(
        images=len(found),
        other_decisions=int(((found > 0) != (expected > 0)).sum()),
        largest_difference=float(np.abs(found - expected).max(initial=0.0)),
    )


def routing_of(detections: Detections) -> Routing:
    """Count where images went."""
    places = [(name, one.task) for name, some in detections.items() for one in some]
    unknown = sum(found is None for _, found in places)
    return Routing(unknown, sum(found not in (None, name) for name, found in places))


def _scores(detections: Iterable[Detection]) -> Scores:
    return np.array([one.score for one in detections], np.float32)
