"""What learns a step: cad-edge as a user runs it, behind the protocol that baselines share."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from cad_edge.data.stream import Stream, StreamTask
from cad_edge.schema import Record
from cad_edge.store.artifact import read_record
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.bundle_contents import (
    calibrations_of,
    task_bytes,
    version_bytes,
)
from cad_edge_benchmarks.instruments.evaluation import Detect, TaskEvaluation
from cad_edge_benchmarks.protocol.compat import Compat
from cad_edge_benchmarks.protocol.judging import judge
from cad_edge_benchmarks.protocol.task_sequence import Step
from cad_edge_benchmarks.reporting.progress import quiet
from cad_edge_runtime import Detector


@dataclass(frozen=True)
class Recipe:
    """What every learner of a run learns and judges with."""

    method: str
    backbone: str
    size: int | Literal["auto"] | None
    options: tuple[tuple[str, str], ...]
    """Options of the method as (name, value), values still text."""
    seed: int
    false_reject_rate: float
    threads: int | None
    compats: tuple[Compat, ...]


class Cost(Record):
    """What learning one model took."""

    seconds: float = Field(ge=0, description="wall-clock time, data reading included")
    bytes: int = Field(ge=0, description="tensors and routing statistics in the bundle")
    images: int = Field(ge=0, description="training images")


class Measured(Record):
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

    def evaluate(self) -> Measured:
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
        """Learn every task of ``step`` on its own."""
        self._tasks += step
        learn_tasks(self._recipe, step, self._artifacts)

    def evaluate(self) -> Measured:
        """Export what was learned so far and judge with the runtime."""
        names = [task.name for task in self._tasks]
        drop_others(self._bundle, names)
        artifacts = [self._artifacts / name for name in names]
        export_lacking(artifacts, self._bundle, self._recipe.backbone)
        given = any(compat.name == "task_given" for compat in self._recipe.compats)
        with open_bundle(self._bundle, self._recipe.threads) as detector:
            manifest = detector.manifest

            def detect(name: str) -> Detect:
                task = name if given else None
                return lambda frame, depth: detector.detect(frame, task, depth)

            evaluations = judge(
                detect,
                self._tasks,
                calibrations_of(manifest),
                self._recipe.false_reject_rate,
                self._recipe.compats,
                routed=not given,
            )
        sizes = {name: task_bytes(Bundle(self._bundle), manifest, name) for name in names}
        return Measured(
            costs={name: cost_of(self._artifacts / name, size) for name, size in sizes.items()},
            kept_bytes=sum(sizes.values()),
            bundle_bytes=version_bytes(Bundle(self._bundle), manifest, names),
            evaluations=evaluations,
        )


def learn_tasks(recipe: Recipe, tasks: Sequence[StreamTask], artifacts: Path) -> None:
    """Learn those of ``tasks`` that ``artifacts`` lacks, as `cad-edge train` does."""
    if all((artifacts / task.name / "artifact.json").is_file() for task in tasks):
        return
    from cad_edge_training.train import TrainingPlan, train

    stream = Stream(name="protocol", false_reject_rate=recipe.false_reject_rate, tasks=list(tasks))
    plan = TrainingPlan(
        recipe.method, recipe.backbone, recipe.size, dict(recipe.options), recipe.seed
    )
    train(stream, artifacts, plan, lambda name: quiet)


def export_lacking(artifacts: Sequence[Path], bundle: Path, backbone: str) -> None:
    """Add to ``bundle`` those of ``artifacts`` that it lacks, as `cad-edge export` does."""
    from cad_edge_export.exporter import export_artifacts
    from cad_edge_export.plan import ExportPlan

    export_artifacts(artifacts, bundle, ExportPlan(backbone=backbone), quiet)


def drop_others(bundle: Path, names: Sequence[str]) -> None:
    """Remove a bundle that a call for later steps left: it knows tasks besides ``names``."""
    if Bundle(bundle).exists() and set(Bundle(bundle).manifest().tasks) - set(names):
        shutil.rmtree(bundle)


def open_bundle(bundle: Path, threads: int | None) -> Detector:
    """Open a bundle on the CPU."""
    return Detector.open(bundle, device="cpu", threads=threads, watch=False)


def cost_of(artifact: Path, size: int) -> Cost:
    """Tell what learning ``artifact`` took; ``size`` is what a bundle keeps of it, in bytes."""
    provenance = read_record(artifact).provenance
    return Cost(seconds=provenance.seconds, bytes=size, images=provenance.images)
