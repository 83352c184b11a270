"""What later tasks leave of older ones: private experts and anchors, and the drift of scores.

What a task owns must be the same bytes in every generation. What all tasks share changes with each,
and scores with it; by how much is measured here, between a task's own generation and the newest.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cad_edge.store.artifact import LearnedTask
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest
from cad_edge_studies.cl_anomaly_comparison.evaluation_images import Scores, scores_of
from cad_edge_studies.cl_anomaly_comparison.family import LearnedFamily

if TYPE_CHECKING:
    from cad_edge_training.methods.cl_anomaly.model import CLAnomaly

Models = Mapping[str, "CLAnomaly"]


@dataclass(frozen=True)
class Moved:
    """By how much scores moved."""

    images: int
    mean: float
    largest: float
    flipped: int
    """Decisions, Yes or No."""


@dataclass(frozen=True)
class Lasting:
    """A task then, right after it was learned, and now, by the newest generation."""

    task: str
    generations: int
    """Learned after it."""
    tests: Moved
    held_out: Moved
    """Good parts that it was not learned from."""
    accuracy_then: float
    accuracy_now: float
    models_changed: int
    """Later models in which its private expert or its anchor is not the same bytes."""
    versions_changed: int
    """Later versions of the bundle in which the object of both is another."""
    witness_difference: float
    """Of its own generation, rebuilt, from what training wrote down of the witness images."""


def lasting(family: LearnedFamily, versions: Sequence[Manifest]) -> list[Lasting]:
    """Compare every task's own generation with all later ones.

    Parameters
    ----------
    family
        The tasks.
    versions
        One after each of them, oldest first.
    """
    generations = [family.models(count + 1) for count in range(len(family.names))]
    tasks = family.generation(len(family.names))
    return [
        _lasting(family, tasks[place], place, generations, versions) for place in range(len(tasks))
    ]


def _lasting(
    family: LearnedFamily,
    task: LearnedTask,
    place: int,
    generations: Sequence[Models],
    versions: Sequence[Manifest],
) -> Lasting:
    name = task.artifact.task
    shown, then, now = family.tests[name], generations[place][name], generations[-1][name]
    before, after = scores_of(then, shown.tokens), scores_of(now, shown.tokens)
    digests = {owned_digest(one[name], place) for one in generations[place:]}
    own = digests - {owned_digest(then, place)}
    objects = [own_object(manifest, name, place) for manifest in versions[place:]]
    return Lasting(
        task=name,
        generations=len(generations) - place - 1,
        tests=moved(before, after),
        held_out=moved(*(_held_out(model, task) for model in (then, now))),
        accuracy_then=float(((before > 0) == shown.anomalous).mean()),
        accuracy_now=float(((after > 0) == shown.anomalous).mean()),
        models_changed=len(own),
        versions_changed=sum(one != objects[0] for one in objects),
        witness_difference=_witness_difference(then, task),
    )


def moved(before: Scores, after: Scores) -> Moved:
    """Compare scores (k,) of the same images."""
    difference = np.abs(after - before)
    flipped = int(((before > 0) != (after > 0)).sum())
    return Moved(len(before), float(difference.mean()), float(difference.max()), flipped)


def owned_digest(model: "CLAnomaly", place: int) -> str:
    """sha256 over the private expert and the anchor that a model uses for the task at ``place``."""
    from cad_edge_training.methods.cl_anomaly.experts import GatedLinear

    found = hashlib.sha256(_bytes(model.anchors[place]))
    for name, module in model.base.language.named_modules():
        if isinstance(module, GatedLinear):
            found.update(name.encode())
            for part in module.experts.private[place]:
                found.update(_bytes(part))
    return found.hexdigest()


def _bytes(tensor: Any) -> bytes:  # noqa: ANN401  (torch is not imported here)
    values: npt.NDArray[np.float32] = tensor.numpy()
    return values.tobytes()


def own_object(manifest: Manifest, name: str, place: int) -> str:
    """Object of the private expert and the anchor of the task at ``place``."""
    engine = manifest.tasks[name].engine
    return engine.joint[place] if engine.tensors is None else engine.tensors


def history(bundle: Path) -> list[Manifest]:
    """Every version of a bundle, oldest first."""
    store = Bundle(bundle)
    found: list[Manifest] = []
    sha: str | None = store.pointer().manifest
    while sha is not None:
        manifest = store.manifest(sha)
        found.append(manifest)
        sha = manifest.previous
    return found[::-1]


def _held_out(model: "CLAnomaly", task: LearnedTask) -> Scores:
    import torch

    from cad_edge_training.methods.cl_anomaly.model import TOKENS

    return scores_of(model, torch.from_numpy(task.tensors[TOKENS].astype(np.float32)))


def _witness_difference(model: "CLAnomaly", task: LearnedTask) -> float:
    import torch

    with torch.inference_mode():
        found = scores_of(model, model.raw(torch.from_numpy(task.witness["image"])))
    return float(np.abs(found - task.witness["score"]).max())
