"""What learns a step: cad-edge as a user runs it, behind the protocol that baselines share."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field

from cad_edge.data.stream import Stream, StreamTask
from cad_edge.schema import Record
from cad_edge.store.artifact import read_record
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.instruments.bundle_contents import (
    calibrations_of,
    task_bytes,
    version_bytes,
)
from cad_edge_benchmarks.instruments.command_runner import quiet
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation
from cad_edge_benchmarks.protocol.compat import Compat, judge
from cad_edge_benchmarks.protocol.learner_settings import LearnerSettings
from cad_edge_benchmarks.protocol.task_sequence import Step
from cad_edge_runtime import Detector


@dataclass(frozen=True)
class Recipe:
    """What a learner of a run learns and judges with."""

    settings: LearnerSettings
    seed: int
    false_reject_rate: float
    threads: int | None
    compats: tuple[Compat, ...]


class Cost(Record):
    """What learning one model took."""

    seconds: float = Field(ge=0, description="wall-clock time, data reading included")
    bytes: int = Field(ge=0, description="tensors and routing statistics in the bundle")
    images: int = Field(ge=0, description="training images of good parts")


class StepMeasurement(Record):
    """What is known after a step."""

    costs: dict[str, Cost] = Field(description="of every model in use, by its name")
    kept_bytes: int = Field(
        description="needed to go on after this step: tensors, routing statistics, stored images"
    )
    bundle_bytes: int = Field(description="what a device opens, the network included")
    evaluations: dict[str, TaskEvaluation] = Field(description="of every task so far")


class Learner(Protocol):
    """Learns steps one after another; its learning unit may be one task or the whole step.

    ``learn`` of a step that was learned before, by a process that is gone, takes up what that left
    behind. Between two calls of ``learn``, ``evaluate`` may be called once or not at all.
    """

    def learn(self, step: Step) -> None:
        """Learn the tasks of ``step`` after all before it."""

    def evaluate(self) -> StepMeasurement:
        """Judge the test images of all tasks so far."""


class CadEdge:
    """Train, export and detect as a user does; every frame finds its product on its own.

    Parameters
    ----------
    recipe
        How to learn.
    learned
        Folder of artifacts.
    measured
        Folder of the bundle, which grows with the steps.
    """

    def __init__(self, recipe: Recipe, learned: Path, measured: Path) -> None:
        self._recipe = recipe
        self._artifacts = learned
        self._bundle = measured / "bundle"
        self._tasks: list[StreamTask] = []

    def learn(self, step: Step) -> None:
        """Learn the tasks of ``step``: together where the method can, else each on its own."""
        self._tasks += step
        learn_tasks(self._recipe, step, self._artifacts)

    def evaluate(self) -> StepMeasurement:
        """Export what was learned so far and judge with the runtime."""
        names, bundle = [task.name for task in self._tasks], Bundle(self._bundle)
        if bundle.exists() and set(bundle.manifest().tasks) - set(names):
            # A call for later steps left it, and it knows their tasks.
            shutil.rmtree(self._bundle)
        given = any(compat.name == "task_given" for compat in self._recipe.compats)
        return measure(
            [self._artifacts / name for name in names],
            self._bundle,
            self._recipe,
            self._tasks,
            lambda name: name if given else None,
            routed=not given,
        )


def learn_tasks(recipe: Recipe, tasks: Sequence[StreamTask], artifacts: Path) -> None:
    """Learn those tasks of a step that ``artifacts`` lacks, as `cad-edge train` does."""
    if all((artifacts / task.name / "artifact.json").is_file() for task in tasks):
        return
    from cad_edge_training.train import TrainingPlan, train

    settings = recipe.settings
    stream = Stream(
        name="protocol",
        false_reject_rate=recipe.false_reject_rate,
        tasks=list(tasks),
        steps=[[task.name for task in tasks]],
    )
    plan = TrainingPlan(
        settings.method, settings.backbone, settings.size, settings.options, recipe.seed
    )
    train(stream, artifacts, plan, lambda name: quiet)


def measure(
    artifacts: Sequence[Path],
    bundle: Path,
    recipe: Recipe,
    tasks: Sequence[StreamTask],
    given: Callable[[str], str | None],
    routed: bool,
) -> StepMeasurement:
    """Export what a bundle lacks and judge all test images of tasks with the runtime.

    Parameters
    ----------
    artifacts
        Folders of the models in use, by name.
    bundle
        Folder of the bundle; it may hold further models, which count for nothing.
    recipe
        How they were learned.
    tasks
        Tasks so far.
    given
        From the name of a task to that of the model which judges its images; None: recognised.
    routed
        Whether images find their task on their own; otherwise routing is undefined.
    """
    from cad_edge_export.exporter import export_artifacts
    from cad_edge_export.plan import ExportPlan

    plan = ExportPlan(backbone=recipe.settings.backbone, explanations=False)
    export_artifacts(artifacts, bundle, plan, quiet)
    with Detector.open(bundle, device="cpu", threads=recipe.threads, watch=False) as detector:
        manifest = detector.manifest
        evaluations = judge(
            lambda name: lambda frame, depth: detector.detect(frame, given(name), depth),
            tasks,
            calibrations_of(manifest),
            recipe.false_reject_rate,
            recipe.compats,
            routed,
        )
    store, names = Bundle(bundle), [artifact.name for artifact in artifacts]
    costs = {artifact.name: _cost(artifact, store, manifest) for artifact in artifacts}
    return StepMeasurement(
        costs=costs,
        kept_bytes=sum(cost.bytes for cost in costs.values()),
        bundle_bytes=version_bytes(store, manifest, names),
        evaluations=evaluations,
    )


def _cost(artifact: Path, bundle: Bundle, manifest: Manifest) -> Cost:
    provenance = read_record(artifact).provenance
    return Cost(
        seconds=provenance.seconds,
        bytes=task_bytes(bundle, manifest, artifact.name),
        images=provenance.images,
    )
