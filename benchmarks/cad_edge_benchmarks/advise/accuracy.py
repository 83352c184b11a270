"""Figures of settings on one half of the test images, comparable by draws that they share."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import numpy as np

from cad_edge.schema import TaskName
from cad_edge_benchmarks.advise.predictions import Answers, HalfAnswers
from cad_edge_benchmarks.advise.schema import Accuracy, Share
from cad_edge_benchmarks.advise.uncertainty import (
    Scores,
    draw_weights,
    drawn_auroc,
    mean_draws,
    spread,
)
from cad_edge_benchmarks.advise.validation_split import Line, seed_of
from cad_edge_benchmarks.instruments.metrics import image_auroc, mean_defined

Half = Literal["choosing", "reporting"]


class Jury:
    """One half of the test images of all products.

    Parameters
    ----------
    line
        The products.
    half
        Which half.
    seed
        Of the draws.
    """

    def __init__(self, line: Line, half: Half, seed: int) -> None:
        self._half: Half = half
        self._weights = {}
        for name, halves in line.halves.items():
            parts = getattr(halves, half)
            labels = np.array([part.image.anomalous for part in parts], dtype=np.bool_)
            origins = [part.origin for part in parts]
            self._weights[name] = draw_weights(origins, labels, seed_of(seed, name))

    def accuracy(self, answers: Answers) -> Accuracy:
        """Figures of one setting."""
        tasks = self._tasks(answers)
        by_task = {name: _auroc(one) for name, one in tasks.items()}
        return Accuracy(
            image_auroc=sum(by_task.values()) / len(by_task),
            error=spread(self.draws(answers)),
            pixel_auroc=mean_defined([one.pixel_auroc for one in tasks.values()]),
            routed_good=_routed(tasks.values(), anomalous=False),
            routed_defective=_routed(tasks.values(), anomalous=True),
            by_task=by_task,
        )

    def draws(self, answers: Answers) -> Scores:
        """Mean image AUROC of every draw, (draws,) float64."""
        return mean_draws(
            [
                drawn_auroc(one.values(), one.labels(), self._weights[name])
                for name, one in self._tasks(answers).items()
            ]
        )

    def errors(self, answers: Mapping[str, Answers]) -> Callable[[str, str], float]:
        """Give the standard error of the difference between two of ``answers``, by their names."""
        draws = {name: self.draws(one) for name, one in answers.items()}
        return lambda first, second: spread(draws[first] - draws[second])

    def _tasks(self, answers: Answers) -> dict[TaskName, HalfAnswers]:
        return {name: getattr(one, self._half) for name, one in answers.tasks.items()}


def _auroc(answers: HalfAnswers) -> float:
    found = image_auroc(answers.labels(), answers.values())
    assert found is not None, "halves hold images of both classes"
    return found


def _routed(tasks: Iterable[HalfAnswers], anomalous: bool) -> Share:
    flags = [
        routed
        for one in tasks
        for routed, label in zip(one.routed, one.anomalous, strict=True)
        if label == anomalous
    ]
    return Share(hits=sum(flags), total=len(flags))
