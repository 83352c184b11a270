"""The baseline ``separate``: every task learned on its own, with nothing shared and its own bundle.

Nothing is forgotten, nothing is in the way of what comes next, and no frame has to be routed: what
a method that shares weights between tasks gives away, and what it saves, is seen beside this one.
"""

from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.protocol.learners import Recipe, StepMeasurement, learn_tasks, measure
from cad_edge_benchmarks.protocol.task_sequence import Step


class SeparateModels:
    """A learner with one model for each task.

    Parameters
    ----------
    recipe
        How to learn.
    learned
        Folder of one folder of artifacts for each task.
    measured
        Folder of one bundle for each task.
    """

    def __init__(self, recipe: Recipe, learned: Path, measured: Path) -> None:
        self._recipe, self._learned, self._measured = recipe, learned, measured
        self._tasks: list[StreamTask] = []
        self._found: dict[str, StepMeasurement] = {}

    def learn(self, step: Step) -> None:
        """Learn every task of ``step`` as if it were the first."""
        for task in step:
            learn_tasks(self._recipe, [task], self._learned / task.name)
        self._tasks += step

    def evaluate(self) -> StepMeasurement:
        """Judge the test images of every task by its own model, which later steps leave alone."""
        for task in self._tasks:
            if task.name not in self._found:
                self._found[task.name] = self._measure(task)
        return joined([self._found[task.name] for task in self._tasks])

    def _measure(self, task: StreamTask) -> StepMeasurement:
        return measure(
            [self._learned / task.name / task.name],
            self._measured / f"bundle-{task.name}",
            self._recipe,
            [task],
            lambda name: name,
            routed=False,
        )


def joined(measured: Sequence[StepMeasurement]) -> StepMeasurement:
    """Put what is known of models that have a bundle each beside each other."""
    return StepMeasurement(
        costs={name: cost for one in measured for name, cost in one.costs.items()},
        kept_bytes=sum(one.kept_bytes for one in measured),
        bundle_bytes=sum(one.bundle_bytes for one in measured),
        evaluations={
            name: evaluation for one in measured for name, evaluation in one.evaluations.items()
        },
    )
