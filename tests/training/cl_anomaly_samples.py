"""A tiny base model, products on which a defect is plain to see, and learning them in seconds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cad_edge.store.artifact import Artifact, LearnedTask, Provenance, with_sharing_tasks
from cad_edge_training.folds import draw_folds
from cad_edge_training.learned import LearningRequest, LearningResult
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.learn import learn

RATE = 0.2
QUICK = {"epochs": 2, "batch": 4, "learning_rate": 0.02, "balanced": True, "rank": 2}


def quiet(what, done, total):
    assert 0 < done <= total


def pictures(side: int, tint: Sequence[int], n: int, defective: bool, seed: int = 0):
    """Images (n, side, side, 3) uint8 of one colour, with a bright corner if defective."""
    rng = np.random.default_rng([seed, *tint, defective])
    images = np.clip(rng.normal(tint, 12, (n, side, side, 3)), 0, 255).astype(np.uint8)
    if defective:
        images[:, : side // 2, : side // 2] = 250
    return images


def a_request(base, workspace: Path, task="red", earlier=(), progress=quiet, good=15, bad=6):
    side = base.recipe.width
    tint = {"red": (150, 40, 40), "blue": (40, 50, 150), "green": (30, 130, 50)}[task]
    images = pictures(side, tint, good, False)
    return LearningRequest(
        task=task,
        images=images,
        backbone=base,
        folds=draw_folds(len(images), RATE, 0),
        seed=3,
        progress=progress,
        rate=RATE,
        defective=pictures(side, tint, bad, True),
        earlier=tuple(earlier),
        workspace=workspace,
    )


def as_task(request: LearningRequest, config: Config, learned: LearningResult) -> LearnedTask:
    """What core makes of it, with its sharing tasks."""
    artifact = Artifact(
        method="cl_anomaly",
        task=request.task,
        position=len(request.earlier),
        backbone=request.backbone.identity,
        recipe=request.backbone.recipe,
        hyperparameters=config.model_dump(mode="json"),
        calibration=learned.calibration,
        false_reject_rate=request.rate,
        provenance=Provenance(
            seed=3, versions={}, data_sha256="0" * 64, images=len(request.images), seconds=0.0
        ),
    )
    own = LearnedTask(artifact, learned.tensors, {}, {}, learned.shared_weights, sha256="")
    return with_sharing_tasks([*request.earlier, own])[-1]


def learn_all(base, workspace: Path, config: Config, names: Sequence[str]) -> list[LearnedTask]:
    """Learn tasks one after another; each knows its sharing tasks as it was when it was learned."""
    tasks: list[LearnedTask] = []
    for name in names:
        request = a_request(base, workspace / name, name, tasks)
        tasks.append(as_task(request, config, learn(request, config)))
    return tasks
