"""What learning further tasks does to the older ones, stage by stage.

Two questions are kept apart. With the task given nothing may move: scores and maps are compared bit
for bit. Routed, a newer product may attract frames of an older one; that shows in the task matrix.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cad_edge_benchmarks.instruments import continual_metrics as continual
from cad_edge_benchmarks.instruments.metrics import image_auroc
from cad_edge_runtime import Detector
from cad_edge_studies.open_set import LabelledFrame


@dataclass(frozen=True)
class GivenAnswers:
    """Answers for one task's test images with the task given."""

    scores: npt.NDArray[np.float64]
    """(n_images,) raw scores."""
    maps: str
    """sha256 over all anomaly maps."""
    auroc: float | None = None
    """Of the images."""

    def differs(self, other: "GivenAnswers") -> int:
        """Count the images whose score differs in any bit; all of them if only a map does."""
        changed = int(np.sum(self.scores != other.scores))
        return changed or (len(self.scores) if self.maps != other.maps else 0)


def given_answers(detector: Detector, frames: Sequence[LabelledFrame]) -> GivenAnswers:
    """Judge frames with their product given."""
    digest = hashlib.sha256()
    scores = []
    for frame in frames:
        found = detector.detect(frame.image, task=frame.product)
        scores.append(np.nan if found.score is None else found.score)
        if found.anomaly_map is not None:
            digest.update(np.ascontiguousarray(found.anomaly_map).tobytes())
    judged = np.array(scores, dtype=np.float64)
    auroc = image_auroc(np.array([frame.anomalous for frame in frames], dtype=np.bool_), judged)
    return GivenAnswers(judged, digest.hexdigest(), auroc)


def compare(
    before: Mapping[str, GivenAnswers], after: Mapping[str, GivenAnswers]
) -> dict[str, int]:
    """Count what differs in score or map between each task's own stage and the last."""
    return {
        "tasks": len(before),
        "images": sum(len(answers.scores) for answers in before.values()),
        "changed_images": sum(answers.differs(after[name]) for name, answers in before.items()),
    }


def describe_matrix(rows: list[list[float | None]]) -> dict[str, object]:
    """Continual metrics of routed AUROC after each stage; ``rows[n]`` holds tasks 0 to n."""
    matrix = np.full((len(rows), len(rows)), np.nan)
    for stage, row in enumerate(rows):
        matrix[stage, : len(row)] = [np.nan if value is None else value for value in row]
    return {
        "matrix": rows,
        "a_auroc": continual.average_auroc(matrix),
        "fm": continual.forgetting_measure(matrix),
        "average": _mean(continual.average_since_introduction(matrix)),
        "backward_transfer": _mean(continual.backward_transfer(matrix)),
    }


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None
