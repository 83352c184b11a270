"""The artifact: the folder that learning a task leaves behind.

    <artifacts>/<task>/artifact.json         the Artifact record below
                       tensors.safetensors   what the method learned, by the method's own names
                       routing.safetensors   see cad_edge.routing.RoutingStatistics
                       witness.safetensors   what torch said: score (n,) float32 and, where the
                                             method localises, anomaly_map (n, h, w) float32, of
                                             image (n, height, width, 3) uint8, for several views
                                             (n, views, height, width, 3), and where depth is
                                             looked at depth (n, height, width) float32
                      [generation.safetensors]
                                             what the method shares between its tasks, as it is
                                             after this one; docs/decisions/0015-shared-weights.md

Nothing in it is executable. The folder is written under a temporary name and renamed, so an
artifact is there whole or not at all.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cad_edge.calibration import Calibration
from cad_edge.data.depth import DepthRange
from cad_edge.data.image import ImageRecipe
from cad_edge.errors import ArtifactError
from cad_edge.schema import (
    Record,
    Sha256,
    TaskName,
    WithViews,
    canonical_json,
    parse_json,
    sha256_of,
)

FORMAT: Literal[1] = 1
Tensors = dict[str, "np.ndarray[Any, np.dtype[Any]]"]


class BackboneIdentity(Record):
    """Which frozen network gave the features: ``sha256`` is over all weights, names included."""

    id: str
    sha256: Sha256


class Provenance(Record):
    """Where an artifact comes from."""

    seed: int
    versions: dict[str, str]
    data_sha256: Sha256 = Field(description="over the decoded training images, in sorted order")
    images: int = Field(ge=1, description="training images of good parts")
    seconds: float = Field(ge=0, description="wall-clock time of learning, data reading included")


class Artifact(WithViews):
    """``artifact.json``."""

    RARE: ClassVar[frozenset[str]] = frozenset({"views", "depth", "routing_recipe"})

    format: Literal[1] = FORMAT
    method: str
    task: TaskName
    position: int = Field(ge=0, description="place in the stream, 0 is the first task learned")
    backbone: BackboneIdentity
    recipe: ImageRecipe
    hyperparameters: dict[str, Any]
    calibration: Calibration
    false_reject_rate: float = Field(gt=0, lt=1, description="stated by the user in the stream")
    provenance: Provenance
    depth: DepthRange | None = Field(
        default=None, description="where measurements of good parts lie; None: learned without"
    )
    routing_recipe: ImageRecipe | None = Field(
        default=None,
        description="what images were brought to for the routing statistics; None: `recipe`",
    )

    @property
    def recognised_at(self) -> ImageRecipe:
        """Recipe of the images by which the product is recognised."""
        return self.routing_recipe or self.recipe


@dataclass(frozen=True)
class LearnedTask:
    """An artifact in memory."""

    artifact: Artifact
    tensors: Tensors
    routing: Tensors
    witness: Tensors
    shared_weights: Tensors
    """What the method shares between its tasks; empty where they share nothing."""
    sha256: str
    """Of artifact.json followed by the tensor files."""
    sharing_tasks: tuple["LearnedTask", ...] = ()
    """All tasks with the same shared weights, in stream order and this one among them."""

    @property
    def evolves(self) -> bool:
        """Whether later tasks change how this one is answered."""
        return bool(self.shared_weights)

    def model_tensors(self) -> Tensors:
        """Everything that a model of this task is made of.

        Where nothing is shared that is ``tensors``. Else it is the newest shared weights under
        their own names, of the k-th task every tensor as ``task/000k/<name>``, and
        ``sharing_tasks/index``, the place of this task.
        """
        if not self.evolves:
            return self.tensors
        place = [member.artifact.task for member in self.sharing_tasks].index(self.artifact.task)
        members = [member.tensors for member in self.sharing_tasks]
        return joined_tensors(members, self.sharing_tasks[-1].shared_weights, place)


def joined_tensors(members: Sequence[Tensors], shared_weights: Tensors, place: int) -> Tensors:
    """Join what each member owns, in stream order, and what they share, for the one at ``place``.

    Names are those of `LearnedTask.model_tensors`.
    """
    found = dict(shared_weights)
    for number, tensors in enumerate(members):
        found |= {f"task/{number:04d}/{name}": own for name, own in tensors.items()}
    return found | {"sharing_tasks/index": np.array(place, dtype=np.int64)}


def with_sharing_tasks(tasks: Sequence[LearnedTask]) -> list[LearnedTask]:
    """Give every task that evolves those that share its weights: its method's, in stream order.

    Raises
    ------
    ArtifactError
        Tasks with shared weights were learned with different options, so that no model fits all.
    """
    groups: dict[str, list[LearnedTask]] = {}
    for task in sorted(tasks, key=lambda one: (one.artifact.position, one.artifact.task)):
        if task.evolves:
            groups.setdefault(task.artifact.method, []).append(task)
    for method, members in groups.items():
        first = members[0].artifact
        for member in members:
            if member.artifact.hyperparameters != first.hyperparameters:
                raise ArtifactError(
                    f"{first.task} and {member.artifact.task} share what {method} learns but were "
                    "learned with different options; learn one of them again"
                )
    return [
        replace(task, sharing_tasks=tuple(groups[task.artifact.method])) if task.evolves else task
        for task in tasks
    ]


_PARTS = ("tensors", "routing", "witness")
_SHARED_WEIGHTS = "generation"


def write_artifact(
    folder: Path,
    artifact: Artifact,
    tensors: Tensors,
    routing: Tensors,
    witness: Tensors,
    shared_weights: Tensors | None = None,
) -> Path:
    """Write ``<folder>/<task>``; raise ArtifactError if it is there already."""
    target = folder / artifact.task
    if target.exists():
        raise ArtifactError(f"{target} exists already; remove it to learn this task again")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".tmp-{artifact.task}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        (temporary / "artifact.json").write_bytes(canonical_json(artifact))
        parts = dict(zip(_PARTS, (tensors, routing, witness), strict=True))
        if shared_weights:
            parts[_SHARED_WEIGHTS] = shared_weights
        for name, part in parts.items():
            (temporary / f"{name}.safetensors").write_bytes(save_tensors(_contiguous(part)))
        temporary.replace(target)
    except OSError as problem:
        raise ArtifactError(f"{target} could not be written: {problem.strerror}") from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _contiguous(tensors: Mapping[str, Any]) -> Tensors:
    return {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}


def read_artifact(folder: Path) -> LearnedTask:
    """Read one artifact; raise ArtifactError with the file that is missing or broken."""
    artifact, record = _read_record(folder)
    names = (*_PARTS, _SHARED_WEIGHTS) if evolves(folder) else _PARTS
    parts = {name: _read(folder / f"{name}.safetensors") for name in names}
    found = {name: _tensors(part, folder / f"{name}.safetensors") for name, part in parts.items()}
    return LearnedTask(
        artifact,
        tensors=found["tensors"],
        routing=found["routing"],
        witness=found["witness"],
        shared_weights=found.get(_SHARED_WEIGHTS, {}),
        sha256=sha256_of(record + b"".join(parts.values())),
    )


def evolves(folder: Path) -> bool:
    """Whether later tasks change how the task in ``folder`` is answered."""
    return (folder / f"{_SHARED_WEIGHTS}.safetensors").exists()


def read_record(folder: Path) -> Artifact:
    """Read ``artifact.json`` alone."""
    return _read_record(folder)[0]


def _read_record(folder: Path) -> tuple[Artifact, bytes]:
    path = folder / "artifact.json"
    record = _read(path)
    if (found := _format_of(record, path)) != FORMAT:
        raise ArtifactError(
            f"{path} has format {found}, this version reads format {FORMAT}; learn the task again"
        )
    return parse_json(Artifact, record, str(path), ArtifactError), record


def _format_of(record: bytes, path: Path) -> object:
    try:
        return json.loads(record).get("format")
    except (ValueError, AttributeError):
        raise ArtifactError(f"{path} is not a JSON object; learn the task again") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise ArtifactError(
            f"{path} cannot be read: {problem.strerror}; copy the artifact again or learn the task "
            "again"
        ) from None


def _tensors(data: bytes, path: Path) -> Tensors:
    try:
        tensors: Tensors = load_tensors(data)
        return tensors
    except SafetensorError as problem:
        raise ArtifactError(f"{path} is broken ({problem}); learn the task again") from None


def list_artifacts(folder: Path) -> list[Path]:
    """Artifact folders under ``folder``, in stream order (position, then name)."""
    found = [path.parent for path in folder.glob("*/artifact.json") if path.parent.name[0] != "."]
    keyed = [(read_record(path).position, path.name, path) for path in found]
    return [path for _, _, path in sorted(keyed)]
