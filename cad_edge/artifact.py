"""The artifact: the folder that learning a task leaves behind.

    <artifacts>/<task>/artifact.json         the Artifact record below
                       tensors.safetensors   what the method learned, by the method's own names
                       routing.safetensors   see cad_edge.routing.RoutingStatistics
                       witness.safetensors   image (n, height, width, 3) uint8, [depth], score (n,)
                                             float32, anomaly_map (n, h, w) float32: what torch said

Nothing in it is executable. The folder is written under a temporary name and renamed, so an
artifact is there whole or not at all.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cad_edge.calibration import Calibration
from cad_edge.errors import ArtifactError
from cad_edge.image import ImageRecipe
from cad_edge.schema import Record, Sha256, TaskName, canonical_json, parse_json, sha256_of

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


class Artifact(Record):
    """``artifact.json``."""

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


@dataclass(frozen=True)
class LearnedTask:
    """An artifact in memory."""

    artifact: Artifact
    tensors: Tensors
    routing: Tensors
    witness: Tensors
    sha256: str
    """Of artifact.json followed by the three tensor files."""


_PARTS = ("tensors", "routing", "witness")


def write_artifact(
    folder: Path, artifact: Artifact, tensors: Tensors, routing: Tensors, witness: Tensors
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
        for name, part in zip(_PARTS, (tensors, routing, witness), strict=True):
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
    parts = [_read(folder / f"{name}.safetensors") for name in _PARTS]
    tensors, routing, witness = (
        _tensors(part, folder / f"{name}.safetensors")
        for name, part in zip(_PARTS, parts, strict=True)
    )
    return LearnedTask(artifact, tensors, routing, witness, sha256_of(record + b"".join(parts)))


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
