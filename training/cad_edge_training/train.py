"""Learning the tasks of a stream, one after another, into a folder of artifacts."""

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from cad_edge.artifact import (
    Artifact,
    LearnedTask,
    Provenance,
    Tensors,
    evolves,
    list_artifacts,
    read_artifact,
    read_record,
    with_families,
    write_artifact,
)
from cad_edge.errors import ArtifactError, ImageError, OptionError
from cad_edge.schema import Record
from cad_edge.stream import Stream, StreamTask
from cad_edge_training.backbones import Backbone, load_backbone
from cad_edge_training.fingerprint import fingerprint
from cad_edge_training.folds import draw_folds
from cad_edge_training.images import read_samples
from cad_edge_training.learned import Images, Progress, Request
from cad_edge_training.methods import load_method
from cad_edge_training.processes import started_processes
from cad_edge_training.routing_statistics import routing_statistics
from cad_edge_training.synthetic import synthetic_defects
from cad_edge_training.views import DEFAULTS, views_of

WITNESSES = 4  # images of good parts in the witness, and as many with synthetic defects


@dataclass(frozen=True)
class Plan:
    """What to learn with, the same for every task of a run."""

    method: str
    backbone: str
    size: int | None
    options: Mapping[str, str]
    """Options of the method as NAME: VALUE, values still text."""
    seed: int


def train(
    stream: Stream,
    out: Path,
    plan: Plan,
    progress: Callable[[str], Progress],
) -> list[str]:
    """Learn the tasks of ``stream`` that ``out`` does not hold yet; return their names.

    Parameters
    ----------
    stream
        Tasks in the order in which they are learned.
    out
        Folder of artifacts.
    plan
        Method, backbone and options.
    progress
        Gives, for the name of a task, the callback that shows its progress.

    Raises
    ------
    CadEdgeError
        Bad data, option or artifact; tasks learned before it are kept.
    """
    processes = started_processes()
    views = views_of(stream, plan.method)
    backbone = load_backbone(plan.backbone, plan.size)
    config = read_config(plan, views)
    held = _held(out, stream)
    _check_held(held, out, backbone, views)
    position = 1 + max((record.position for record in held.values()), default=-1)
    learned, rate = [], stream.false_reject_rate
    for task in stream.tasks:
        if task.name in held:
            continue
        # What is there has been read by all before one writes, and written before all read on.
        processes.wait()
        if processes.leads or learns_in_several(plan.method):
            learn_task(task, rate, position, out, backbone, config, plan, progress)
        learned.append(task.name)
        position += 1
    processes.wait()
    return learned


def learns_in_several(method: str) -> bool:
    """Whether all processes of a training learn a task together, and not the first one alone."""
    return bool(getattr(load_method(method, "learn"), "SEVERAL_PROCESSES", False))


def _held(out: Path, stream: Stream) -> dict[str, Artifact]:
    """Artifacts that ``out`` holds, by name; what would stop the writing is said before learning.

    Raises
    ------
    ArtifactError
        ``out`` cannot be a folder, or something else has the name of a task.
    """
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not place.is_dir():
        raise ArtifactError(f"{place} is a file; give --out a folder")
    if place != out:
        return {}
    held = {path.name: read_record(path) for path in list_artifacts(out)}
    for task in stream.tasks:
        if task.name not in held and (out / task.name).exists():
            raise ArtifactError(
                f"{out / task.name} is there but holds no artifact; move it away, or give --out "
                "another folder"
            )
    return held


def _check_held(held: Mapping[str, Artifact], out: Path, backbone: Backbone, views: int) -> None:
    """Raise ArtifactError where ``out`` holds what does not fit into one bundle with new tasks."""
    for record in held.values():
        if record.backbone != backbone.identity:
            raise ArtifactError(
                f"{out / record.task} was learned on {record.backbone.id} "
                f"({record.backbone.sha256[:12]}), not on {backbone.identity.id} "
                f"({backbone.identity.sha256[:12]}); give --out another folder"
            )
        if record.recipe != backbone.recipe:
            raise ArtifactError(
                f"{out / record.task} was learned at {record.recipe.width}x{record.recipe.height} "
                f"px, not at {backbone.recipe.width}x{backbone.recipe.height} px, and one bundle "
                f"has one size; give --size {record.recipe.width}, or --out another folder"
            )
        if record.views != views:
            raise ArtifactError(
                f"{out / record.task} was learned with views: {record.views}, not {views}, and one "
                "bundle has one number of views; give --out another folder"
            )


def read_config(plan: Plan, views: int = 1) -> Record:
    """Return the method's `Config`: its defaults for the backbone, then the user's options.

    Parameters
    ----------
    plan
        Method, backbone and options.
    views
        Images of each sample; there are defaults of their own for several.

    Raises
    ------
    OptionError
        An option does not exist or a value is not allowed.
    """
    module = load_method(plan.method, "config")
    known = module.Config.model_fields
    for name in plan.options:
        if name not in known:
            raise OptionError(
                f"--set {name}: {plan.method} has no such option; it has {', '.join(sorted(known))}"
            )
    defaults = module.defaults_for(plan.backbone)
    if views > 1:
        defaults |= getattr(module, DEFAULTS)()
    values = defaults | {
        name: _parsed(text, known[name].annotation) for name, text in plan.options.items()
    }
    try:
        config: Record = module.Config.model_validate(values)
        return config
    except ValidationError as problem:
        raise OptionError(_said(problem)) from None


def _said(problem: ValidationError) -> str:
    """One sentence on the first option that is wrong, or on those that do not fit together."""
    error = problem.errors(include_url=False)[0]
    reason = error["msg"].removeprefix("Value error, ")
    place = ".".join(str(part) for part in error["loc"])
    return f"--set {place}: {reason}" if place else f"--set: {reason}"


def _parsed(text: str, annotation: object) -> object:
    if "tuple" in str(annotation):
        return tuple(part for part in text.split(",") if part)
    return text


def learn_task(
    task: StreamTask,
    rate: float,
    position: int,
    out: Path,
    backbone: Backbone,
    config: Record,
    plan: Plan,
    progress: Callable[[str], Progress],
) -> Path:
    """Learn one task and, in the process that leads, write its artifact; return its folder."""
    start = time.monotonic()
    request = _request(task, rate, out, backbone, plan, progress(task.name))
    images = request.images
    method = load_method(plan.method, "learn")
    learned = method.learn(request, config)
    if not started_processes().leads:
        return out / task.name
    routing = routing_statistics(backbone, images, request.folds, config, plan.seed)
    artifact = Artifact(
        method=plan.method,
        task=task.name,
        position=position,
        views=task.views,
        backbone=backbone.identity,
        recipe=backbone.recipe,
        hyperparameters=config.model_dump(mode="json"),
        calibration=learned.calibration,
        false_reject_rate=rate,
        provenance=Provenance(
            seed=plan.seed,
            versions=versions(),
            data_sha256=fingerprint(np.concatenate([images, request.defective])),
            images=len(images),
            seconds=round(time.monotonic() - start, 3),
        ),
    )
    own = LearnedTask(artifact, learned.tensors, {}, {}, learned.generation, sha256="")
    (*_, whole) = with_families([*request.earlier, own])
    model = method.build_model(backbone, config, whole.model_tensors())
    path = write_artifact(
        out,
        artifact,
        learned.tensors,
        routing.to_tensors(),
        _witness(model, images, plan.seed),
        learned.generation,
    )
    shutil.rmtree(request.workspace, ignore_errors=True)
    return path


def _request(
    task: StreamTask, rate: float, out: Path, backbone: Backbone, plan: Plan, progress: Progress
) -> Request:
    """Read what a task is learned from; raise ImageError without images of good parts."""
    product, recipe = task.samples(), backbone.recipe
    images = read_samples(product.train_views(), task.views, recipe, progress)
    if not len(images):
        raise ImageError(f"{task.path} holds no images of good parts")
    return Request(
        task=task.name,
        images=images,
        backbone=backbone,
        folds=draw_folds(len(images), rate, plan.seed),
        seed=plan.seed,
        progress=progress,
        rate=rate,
        defective=read_samples(
            [item.views for item in product.defective], task.views, recipe, progress
        ),
        earlier=_earlier(out, plan.method),
        workspace=out / f".learning-{task.name}",
    )


def _earlier(out: Path, method: str) -> tuple[LearnedTask, ...]:
    """Return the artifacts of tasks that share a generation with the one to be learned."""
    found = [path for path in list_artifacts(out) if evolves(path)] if out.exists() else []
    return tuple(read_artifact(path) for path in found if read_record(path).method == method)


def _witness(model: torch.nn.Module, images: Images, seed: int) -> Tensors:
    """Answers of the reference model on some training images, plain and with synthetic defects."""
    chosen = images[np.linspace(0, len(images) - 1, WITNESSES).astype(np.int64)]
    every_view = chosen.reshape(-1, *chosen.shape[-3:])
    defective, _ = synthetic_defects(every_view, seed)
    shown = np.concatenate([chosen, defective.reshape(chosen.shape)])
    with torch.inference_mode():
        score, anomaly_map = model(torch.from_numpy(shown))
    said = {"image": shown, "score": score.numpy()}
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
