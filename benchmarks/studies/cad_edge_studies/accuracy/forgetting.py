"""What learning further tasks does to the older ones, stage by stage.

Two questions are kept apart. With the task given nothing may move: scores and maps are compared bit
for bit. Routed, a newer product may attract frames of an older one; that shows in the task matrix.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cad_edge_benchmarks.instruments import continual_metrics as continual
from cad_edge_benchmarks.instruments.evaluation import outcome_of
from cad_edge_benchmarks.instruments.metrics import image_auroc
from cad_edge_runtime import Detector
from cad_edge_studies.accuracy.frames import ProductFrames


@dataclass(frozen=True)
class GivenAnswers:
    """Answers for one task's test images with the task given."""

    scores: npt.NDArray[np.float64]
    """(n_images,) raw scores."""
    maps: str
    """sha256 over all anomaly maps."""

    def differs(self, other: "GivenAnswers") -> int:
        """Count the images whose score differs in any bit; all of them if only a map does."""
        changed = int(np.sum(self.scores != other.scores))
        return changed or (len(self.scores) if self.maps != other.maps else 0)


@dataclass(frozen=True)
class Forgetting:
    """Outcome of a stream in one layout."""

    tasks: int
    images: int
    """Images of older tasks compared between their own stage and the last."""
    changed_images: int
    """Of these, images with another score or map."""


@dataclass(frozen=True)
class RoutedMatrix:
    """Continual metrics of the routed image AUROC; every image found its own task, or not."""

    matrix: list[list[float | None]]
    a_auroc: float | None
    fm: float | None
    average: float | None
    backward_transfer: float | None


def given_answers(detector: Detector, name: str, product: ProductFrames) -> GivenAnswers:
    """Judge all frames of task ``name`` with the task given."""
    digest = hashlib.sha256()
    scores = []
    for frame in product.frames:
        found = detector.detect(frame, task=name)
        scores.append(np.nan if found.score is None else found.score)
        if found.anomaly_map is not None:
            digest.update(np.ascontiguousarray(found.anomaly_map).tobytes())
    return GivenAnswers(np.array(scores, dtype=np.float64), digest.hexdigest())


def routed_auroc(detector: Detector, name: str, product: ProductFrames) -> float | None:
    """Image AUROC of one task's test images, each routed on its own."""
    outcomes = [
        outcome_of(detector.detect(frame), name, bool(anomalous))
        for frame, anomalous in zip(product.frames, product.anomalous, strict=True)
    ]
    return image_auroc(product.anomalous, np.array([one.score for one in outcomes]))


def compare(before: Mapping[str, GivenAnswers], after: Mapping[str, GivenAnswers]) -> Forgetting:
    """Compare answers of each task's own stage with those of the last stage."""
    return Forgetting(
        tasks=len(before),
        images=sum(len(answers.scores) for answers in before.values()),
        changed_images=sum(answers.differs(after[name]) for name, answers in before.items()),
    )


def describe_matrix(rows: list[list[float | None]]) -> RoutedMatrix:
    """Describe routed AUROC after each stage; ``rows[n]`` holds tasks 0 to n."""
    matrix = np.full((len(rows), len(rows)), np.nan)
    for stage, row in enumerate(rows):
        matrix[stage, : len(row)] = [np.nan if value is None else value for value in row]
    return RoutedMatrix(
        matrix=rows,
        a_auroc=continual.average_auroc(matrix),
        fm=continual.forgetting_measure(matrix),
        average=_mean(continual.average_since_introduction(matrix)),
        backward_transfer=_mean(continual.backward_transfer(matrix)),
    )


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None
