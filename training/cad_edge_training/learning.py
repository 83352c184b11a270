"""Learning tasks together and writing their artifacts: what every method has in common."""

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cad_edge.calibration import require_rate
from cad_edge.data.depth import range_of
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError, ImageError
from cad_edge.schema import Record
from cad_edge.store.artifact import (
    Artifact,
    LearnedTask,
    Provenance,
    Tensors,
    evolves,
    list_artifacts,
    read_artifact,
    read_record,
    with_sharing_tasks,
    write_artifact,
)
from cad_edge_training.backbones import Backbone
from cad_edge_training.fingerprint import fingerprint
from cad_edge_training.folds import draw_folds
from cad_edge_training.images import read_planes, read_samples
from cad_edge_training.learned import Images, LearningRequest, LearningResult, Planes, Progress
from cad_edge_training.method import LearnsTasksJointly, UsesDepth
from cad_edge_training.methods import load_method
from cad_edge_training.processes import started_processes
from cad_edge_training.routing_statistics import routing_statistics
from cad_edge_training.synthetic import synthetic_defects

WITNESSES = 4  # images of good parts in the witness, and as many with synthetic defects


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

    def _record(
        self,
        task: StreamTask,
        request: LearningRequest,
        learned: LearningResult,
        position: int,
        seconds: float,
    ) -> Artifact:
        shown = np.concatenate([request.images, request.defective])
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
                data_sha256=fingerprint(shown, *([] if request.depth is None else [request.depth])),
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
            every, recipe = product.samples().train_views(), describing.recipe
            images = read_samples(every, product.views, recipe, request.progress)
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
            _witness(model, request, self.seed),
            task.shared_weights,
        )

    def _request(
        self, task: StreamTask, earlier: tuple[LearnedTask, ...], progress: Progress
    ) -> LearningRequest:
        """Read what a task is learned from; raise ImageError without images of good parts."""
        product, recipe = task.samples(), self.backbone.recipe
        groups = task.groups(product)
        images = read_samples(product.train_views(), task.views, recipe, progress)
        if not len(images):
            raise ImageError(f"{task.path} holds no images of good parts")
        depth: Planes | None = None
        if uses_depth(self.method, self.config):
            if not product.train_depth:
                raise DatasetError(
                    f"{self.method} looks at depth, and task {task.name} has none; give it a "
                    "layout with depth, or options with which images are enough"
                )
            depth = read_planes(product.train_depth, product.train, recipe, progress)
        folds = draw_folds(len(images), self.rate, self.seed, groups)
        require_rate(self.rate, len(images), folds.groups, f"task {task.name}")
        return LearningRequest(
            task=task.name,
            images=images,
            backbone=self.backbone,
            folds=folds,
            seed=self.seed,
            progress=progress,
            rate=self.rate,
            defective=read_samples(
                [item.views for item in product.defective], task.views, recipe, progress
            ),
            earlier=earlier,
            workspace=self.out / f".learning-{task.name}",
            depth=depth,
            depth_range=None if depth is None else range_of(depth),
            groups=groups,
            names=tuple(_below(path, task.path) for path in product.train),
            keep_outliers=self.keep_outliers,
        )

    def _earlier(self) -> tuple[LearnedTask, ...]:
        """Return the artifacts of tasks that share weights with those to be learned."""
        return tuple(read_artifact(path) for path in sharing_tasks_in(self.out, self.method))


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


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


def _witness(model: torch.nn.Module, request: LearningRequest, seed: int) -> Tensors:
    """Answers of the reference model on some training images, plain and with synthetic defects."""
    index = np.linspace(0, len(request.images) - 1, WITNESSES).astype(np.int64)
    chosen = request.images[index]
    every_view = chosen.reshape(-1, *chosen.shape[-3:])
    defective, _ = synthetic_defects(every_view, seed)
    shown: Images = np.concatenate([chosen, defective.reshape(chosen.shape)])
    said: Tensors = {"image": shown}
    inputs = [torch.from_numpy(shown)]
    if request.depth is not None:
        said["depth"] = np.concatenate([request.depth[index], request.depth[index]])
        inputs.append(torch.from_numpy(said["depth"]))
    with torch.inference_mode():
        score, anomaly_map = model(*inputs)
    said["score"] = score.numpy()
    return said if anomaly_map is None else {**said, "anomaly_map": anomaly_map.numpy()}


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
