"""From scores to figures: Yes or No by the sign of the score, as the paper reads the answer.

Avg, Last and BWT are those of METHODS 0.2 (cad_edge_benchmarks.instruments.continual_metrics), over
the accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cad_edge_benchmarks.instruments.continual_metrics import (
    average_since_introduction,
    backward_transfer,
    last,
)
from cad_edge_benchmarks.instruments.metrics import image_auroc, mean_defined

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """What one learner said in one order: stage by stage, of every task learned so far."""

    order: tuple[str, ...]
    stages: tuple[Mapping[str, Scores], ...]
    """Per stage and task (k,) float32: logit of Yes less that of No for its test images."""
    seconds: float
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the method, where they are not its defaults."""


def answers(scores: Scores, anomalous: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """Accuracy, precision, recall and F1 of Yes, and AUROC of the score; None where undefined."""
    said = scores > 0
    hits = float((said & anomalous).sum())
    precision = hits / said.sum() if said.any() else None
    recall = hits / anomalous.sum() if anomalous.any() else None
    both = float(said.sum() + anomalous.sum())
    return {
        "accuracy": float((said == anomalous).mean()),
        "precision": None if precision is None else float(precision),
        "recall": None if recall is None else float(recall),
        "f1": 2 * hits / both if both else None,
        "auroc": image_auroc(anomalous, scores),
    }


def figures_of(run: Run, truth: Mapping[str, npt.NDArray[np.bool_]]) -> dict[str, float | None]:
    """Means over tasks of one run; P, R, F1 and AUROC after the last stage."""
    matrix = np.full((len(run.stages), len(run.order)), np.nan)
    for stage, said in enumerate(run.stages):
        for task, scores in said.items():
            accuracy = answers(scores, truth[task])["accuracy"]
            matrix[stage, run.order.index(task)] = accuracy
    final = [answers(scores, truth[task]) for task, scores in run.stages[-1].items()]
    named = {
        key: mean_defined([one[key] for one in final])
        for key in ("precision", "recall", "f1", "auroc")
    }
    return {
        "last": float(last(matrix).mean()),
        "avg": float(np.nanmean(average_since_introduction(matrix))),
        "bwt": mean_defined([float(one) for one in backward_transfer(matrix) if not np.isnan(one)]),
        **named,
    }
