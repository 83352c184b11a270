"""Learning tasks together and writing their artifacts: what every method has in common."""

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cad_edge.calibration import require_rate
from cad_edge.data.depth import range_of
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError
from cad_edge.schema import Record
from cad_edge.store.artifact import (
    Artifact,
    LearnedTask,
    Provenance,
    evolves,
    list_artifacts,
    read_artifact,
    read_record,
    with_sharing_tasks,
    write_artifact,
)
from cad_edge_training.backbones import Backbone
from cad_edge_training.fingerprint import data_sha256
from cad_edge_training.folds import draw_folds
from cad_edge_training.good_parts import GoodParts
from cad_edge_training.learned import LearningRequest, LearningResult, Progress
from cad_edge_training.method import LearnsTasksJointly, UsesDepth
from cad_edge_training.methods import load_method
from cad_edge_training.processes import started_processes
from cad_edge_training.routing_statistics import routing_statistics
from cad_edge_training.task_images import read_good_parts, read_task
from cad_edge_training.witness import witness


@dataclass(frozen=True)
class Learning:
    """What tasks are learned with, and into which folder."""

    out: Path
    method: str
    seed: int
    backbone: Backbone
    config: Record
    rate: float
    """Stated false-reject rate, in (0, 1)."""
    keep_outliers: bool = False
    """Whether odd ones among the good parts have a say in thresholds and scales."""
    routing: Backbone | None = None
    """By which products are recognised, where that is at another size than ``backbone``'s."""
    parts: Mapping[str, GoodParts] = field(default_factory=dict)
    """By task, which of its pictures are copies; of a task that is not there, none is."""
    known: Mapping[str, str] = field(default_factory=dict)
    """Tasks that the folder holds, by the sha256 of their training images."""

    def learn(
        self,
        tasks: Sequence[StreamTask],
        position: int,
        progress: Callable[[str], Progress],
    ) -> list[Path]:
        """Learn tasks together and, in the process that leads, write their artifacts.

        Parameters
        ----------
        tasks
            Of one step; one alone for a method that learns each on its own.
        position
            Place of the first one in the stream.
        progress
            Gives, for the name of a task, the callback that shows its progress.

        Returns
        -------
        list
            Folders of the artifacts, in the order of ``tasks``.

        Raises
        ------
        CadEdgeError
            Bad data, option or artifact.
        """
        start = time.monotonic()
        earlier = self._earlier()
        requests = [self._request(task, earlier, progress(task.name)) for task in tasks]
        self._refuse_known(tasks, requests)
        method = load_method(self.method)
        if isinstance(method, LearnsTasksJointly):
            learned = method.learn_step(requests, self.config)
        else:
            learned = [method.learn(request, self.config) for request in requests]
        folders = [self.out / task.name for task in tasks]
        if not started_processes().leads:
            return folders
        seconds = round((time.monotonic() - start) / len(tasks), 3)
        records = [
            self._record(task, request, one, position + place, seconds)
            for place, (task, request, one) in enumerate(zip(tasks, requests, learned, strict=True))
        ]
        new = [
            LearnedTask(record, one.tensors, {}, {}, one.shared_weights, sha256="")
            for record, one in zip(records, learned, strict=True)
        ]
        whole = with_sharing_tasks([*earlier, *new])[len(earlier) :]
        for product, task, request in zip(tasks, whole, requests, strict=True):
            self._write(product, task, request)
        for request in requests:
            shutil.rmtree(request.workspace, ignore_errors=True)
        return folders

    def _refuse_known(
        self, tasks: Sequence[StreamTask], requests: Sequence[LearningRequest]
    ) -> None:
        """Raise DatasetError for a task whose images are those of a task that is there already."""
        if not self.known:
            return
        for task, request in zip(tasks, requests, strict=True):
            if (held := self.known.get(data_sha256(request))) is not None:
                raise DatasetError(
                    f"task {task.name}: the good parts in {task.path} are the pictures that "
                    f"{self.out / held} was learned from, and nothing would tell the two products "
                    f"apart; give {task.name} its own images, or leave it out"
                )

    def _record(
        self,
        task: StreamTask,
        request: LearningRequest,
        learned: LearningResult,
        position: int,
        seconds: float,
    ) -> Artifact:
        return Artifact(
            method=self.method,
            task=task.name,
            position=position,
            views=task.views,
            backbone=self.backbone.identity,
            recipe=self.backbone.recipe,
            hyperparameters=self.config.model_dump(mode="json"),
            calibration=learned.calibration,
            false_reject_rate=self.rate,
            provenance=Provenance(
                seed=self.seed,
                versions=versions(),
                data_sha256=data_sha256(request),
                images=len(request.images),
                seconds=seconds,
            ),
            depth=request.depth_range,
            routing_recipe=None if self.routing is None else self.routing.recipe,
        )

    def _write(self, product: StreamTask, task: LearnedTask, request: LearningRequest) -> None:
        """Write an artifact with what its model, that of the whole step, says of some images."""
        describing, images = self.backbone, request.images
        if self.routing is not None:
            describing = self.routing
            names = request.names or ()
            images = read_good_parts(product, names, describing.recipe, request.progress)
        routing = routing_statistics(
            describing, images, request.folds, self.config, self.seed, request.groups
        )
        method = load_method(self.method)
        model = method.build_model(self.backbone, self.config, task.model_tensors())
        write_artifact(
            self.out,
            task.artifact,
            task.tensors,
            routing.to_tensors(),
            witness(model, request, self.seed),
            task.shared_weights,
        )

    def _request(
        self, task: StreamTask, earlier: tuple[LearnedTask, ...], progress: Progress
    ) -> LearningRequest:
        """Read what a task is learned from, and draw what is held out of it."""
        looking = self.method if uses_depth(self.method, self.config) else None
        seen = read_task(task, self.parts.get(task.name), self.backbone.recipe, looking, progress)
        folds = draw_folds(len(seen.images), self.rate, self.seed, seen.groups)
        require_rate(self.rate, len(seen.images), folds.groups, f"task {task.name}")
        return LearningRequest(
            task=task.name,
            images=seen.images,
            backbone=self.backbone,
            folds=folds,
            seed=self.seed,
            progress=progress,
            rate=self.rate,
            defective=seen.defective,
            earlier=earlier,
            workspace=self.out / f".learning-{task.name}",
            depth=seen.depth,
            depth_range=None if seen.depth is None else range_of(seen.depth),
            groups=seen.groups,
            names=seen.names,
            keep_outliers=self.keep_outliers,
        )

    def _earlier(self) -> tuple[LearnedTask, ...]:
        """Return the artifacts of tasks that share weights with those to be learned."""
        return tuple(read_artifact(path) for path in sharing_tasks_in(self.out, self.method))


def sharing_tasks_in(out: Path, method: str) -> list[Path]:
    """Artifacts of a method's tasks with shared weights, in stream order."""
    found = [path for path in list_artifacts(out) if evolves(path)] if out.exists() else []
    return [path for path in found if read_record(path).method == method]


def learns_steps(method: str) -> bool:
    """Whether a method learns the tasks of a step together."""
    return isinstance(load_method(method), LearnsTasksJointly)


def uses_depth(method: str, config: Record) -> bool:
    """Whether a method, with these options, looks at depth."""
    loaded = load_method(method)
    return isinstance(loaded, UsesDepth) and loaded.uses_depth(config)


def discard_unfinished(out: Path, method: str) -> None:
    """Remove what an interrupted call has written of a step without its last artifact.

    That one alone holds what the step's tasks share; the model version before it is in force again.
    """
    loaded = load_method(method)
    if not isinstance(loaded, LearnsTasksJointly):
        return
    for path in reversed(sharing_tasks_in(out, method)):
        if loaded.is_whole(read_artifact(path).shared_weights):
            return
        shutil.rmtree(path)


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    names = ("cad-edge", "torch", "numpy", "pillow", "scikit-learn", "transformers")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
