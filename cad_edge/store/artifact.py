"""The artifact: the folder that learning a task leaves behind.

    <artifacts>/<task>/artifact.json         see cad_edge.store.artifact_record.Artifact
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
artifact is there whole or not at all; ``artifact.json`` holds the sha256 of every file, its own
among them, so that a byte that has changed is refused by name.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cad_edge.data.folder import is_hidden
from cad_edge.errors import ArtifactError
from cad_edge.schema import canonical_json, parse_object, sha256_of
from cad_edge.store.artifact_record import FORMAT, Artifact, BackboneIdentity, Provenance
from cad_edge.store.atomic_write import sync_folder, write_file
from cad_edge.store.learned_task import LearnedTask, Tensors, joined_tensors, with_sharing_tasks
from cad_edge.store.plain_file import RECORD_BYTES, read_plain
from cad_edge.store.unfinished import remove_unfinished, unfinished_folder
from cad_edge.store.unreadable import NO_MEMORY, advice_about, words_of
from cad_edge.strict_json import NotStrictJson, read_json_object

__all__ = [
    "FORMAT",
    "Artifact",
    "BackboneIdentity",
    "LearnedTask",
    "Provenance",
    "Tensors",
    "evolves",
    "joined_tensors",
    "list_artifacts",
    "read_artifact",
    "read_record",
    "with_sharing_tasks",
    "write_artifact",
]

_RECORD = "artifact.json"
_PARTS = ("tensors", "routing", "witness")
_SHARED_WEIGHTS = "generation"
_AGAIN = "copy the artifact again or learn the task again"
_ZEROS = "0" * 64


def write_artifact(
    folder: Path,
    artifact: Artifact,
    tensors: Tensors,
    routing: Tensors,
    witness: Tensors,
    shared_weights: Tensors | None = None,
) -> Path:
    """Write ``<folder>/<task>`` durably, and remove what killed processes have left in ``folder``.

    Parameters
    ----------
    folder
        Where artifacts lie; made if it is not there.
    artifact
        Its ``sha256`` is not looked at: that of what is written takes its place.
    tensors, routing, witness, shared_weights
        Arrays by name, a file each.

    Raises
    ------
    ArtifactError
        The artifact is there already, or the disk refused; nothing is left behind then.
    """
    target = folder / artifact.task
    if target.exists():
        raise ArtifactError(f"{target} exists already; remove it to learn this task again")
    parts = dict(zip(_PARTS, (tensors, routing, witness), strict=True))
    if shared_weights:
        parts[_SHARED_WEIGHTS] = shared_weights
    files = {_file_of(name): save_tensors(_contiguous(part)) for name, part in parts.items()}
    files[_RECORD] = _with_sha256(artifact, files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        with unfinished_folder(folder, artifact.task) as temporary:
            for name, data in files.items():
                write_file(temporary / name, [data])
            sync_folder(temporary)
            temporary.replace(target)
            sync_folder(folder)
    except OSError as problem:
        raise ArtifactError(f"{target} could not be written: {words_of(problem)}") from problem
    return target


def _with_sha256(artifact: Artifact, files: Mapping[str, bytes]) -> bytes:
    """Bytes of ``artifact.json`` that name the sha256 of ``files`` and of themselves."""
    hashes = {name: sha256_of(data) for name, data in files.items()}
    open_record = artifact.model_copy(update={"sha256": {**hashes, _RECORD: _ZEROS}})
    own = sha256_of(canonical_json(open_record))
    return canonical_json(artifact.model_copy(update={"sha256": {**hashes, _RECORD: own}}))


def _contiguous(tensors: Mapping[str, Any]) -> Tensors:
    return {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}


def read_artifact(folder: Path) -> LearnedTask:
    """Read one artifact; raise ArtifactError with the file that is missing or broken."""
    artifact, record = _read_record(folder)
    names = (*_PARTS, _SHARED_WEIGHTS) if evolves(folder) else _PARTS
    digest, found = hashlib.sha256(record), {}
    _require_listed(folder, artifact, {_file_of(name) for name in names})
    for name in names:
        path = folder / _file_of(name)
        data = _read(path)
        if artifact.sha256 and sha256_of(data) != artifact.sha256[path.name]:
            raise ArtifactError(f"{path} is not what {_RECORD} beside it says; {_AGAIN}")
        digest.update(data)
        found[name] = _tensors(data, path)
    return LearnedTask(
        artifact,
        tensors=found["tensors"],
        routing=found["routing"],
        witness=found["witness"],
        shared_weights=found.get(_SHARED_WEIGHTS, {}),
        sha256=digest.hexdigest(),
    )


def _require_listed(folder: Path, artifact: Artifact, files: set[str]) -> None:
    """Raise ArtifactError where the folder lacks a file that its record names, or has another."""
    listed = set(artifact.sha256) - {_RECORD}
    for name in sorted(listed - files) if listed else ():
        raise ArtifactError(f"{folder / name} is missing; {_AGAIN}")
    for name in sorted(files - listed) if listed else ():
        raise ArtifactError(f"{folder / name} is not named by {_RECORD} beside it; {_AGAIN}")


def evolves(folder: Path) -> bool:
    """Whether later tasks change how the task in ``folder`` is answered."""
    return (folder / _file_of(_SHARED_WEIGHTS)).exists()


def read_record(folder: Path) -> Artifact:
    """Read ``artifact.json`` alone."""
    return _read_record(folder)[0]


def _read_record(folder: Path) -> tuple[Artifact, bytes]:
    path = folder / _RECORD
    record = _read(path, RECORD_BYTES)
    try:
        content = read_json_object(record)
    except NotStrictJson as problem:
        raise ArtifactError(f"{path} {problem}; learn the task again") from None
    found = content.get("format")
    if type(found) is not int or found != FORMAT:  # True == 1 == 1.0
        raise ArtifactError(
            f"{path} has format {found!r}, this version reads format {FORMAT}; learn the task again"
        )
    if "sha256" in content and not _says_its_own_sha256(record, content["sha256"]):
        raise ArtifactError(f"{path} is not what its own sha256 says; {_AGAIN}")
    return parse_object(Artifact, content, str(path), ArtifactError), record


def _says_its_own_sha256(record: bytes, hashes: object) -> bool:
    said = hashes.get(_RECORD) if isinstance(hashes, dict) else None
    if not isinstance(said, str) or len(said) != len(_ZEROS):
        return False
    return sha256_of(record.replace(said.encode(), _ZEROS.encode(), 1)) == said


def _file_of(part: str) -> str:
    return f"{part}.safetensors"


def _read(path: Path, limit: int | None = None) -> bytes:
    try:
        return read_plain(path, limit, follow=True)
    except MemoryError:
        raise ArtifactError(f"{path} cannot be read: {NO_MEMORY}") from None
    except OSError as problem:
        advice = advice_about(problem) or _AGAIN
        raise ArtifactError(f"{path} cannot be read: {words_of(problem)}; {advice}") from None


def _tensors(data: bytes, path: Path) -> Tensors:
    try:
        tensors: Tensors = load_tensors(data)
        return tensors
    except (SafetensorError, KeyError, TypeError, ValueError) as problem:
        # Types that numpy lacks, as BF16, are a KeyError.
        raise ArtifactError(f"{path} is broken ({problem}); learn the task again") from None


def list_artifacts(folder: Path) -> list[Path]:
    """Artifact folders under ``folder``, in stream order (position, then name).

    Raises
    ------
    ArtifactError
        A record cannot be read; or a folder has lost its record, or a link its folder, so that the
        product would be left out without a word.
    """
    found = [path for path in _visible(folder) if _holds_record(path)]
    keyed = [(read_record(path).position, path.name, path) for path in found]
    return [path for _, _, path in sorted(keyed)]


def _holds_record(folder: Path) -> bool:
    """Whether a folder of artifacts has an artifact here, and not something else."""
    if folder.is_symlink() and not os.path.exists(folder):  # noqa: PTH110 - it never raises
        raise ArtifactError(f"the link {folder} leads nowhere; restore its target, or remove it")
    names = {path.name for path in _visible(folder)}
    tensors = sorted(name for name in names if name.endswith(".safetensors"))
    if tensors and _RECORD not in names:
        raise ArtifactError(
            f"{folder} holds {tensors[0]} and no {_RECORD}, so that its product would be left out; "
            f"{_AGAIN}, or move the folder out of {folder.parent}"
        )
    return _RECORD in names


def _visible(folder: Path) -> list[Path]:
    """Entries of a folder that are not hidden; none of what is no folder."""
    try:
        return [path for path in folder.iterdir() if not is_hidden(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as problem:
        advice = advice_about(problem) or "copy it again"
        raise ArtifactError(f"{folder} cannot be read: {words_of(problem)}; {advice}") from None
