"""Tensor files: the header of a safetensors file, read first and bounded, then the tensors.

    8 bytes    length n of the header, little-endian
    n bytes    JSON: {name: {"dtype", "shape", "data_offsets": [begin, end]}, ...}
    the rest   the tensors, one after another, little-endian, row by row

A header states sizes that a reader makes room for, so it is held against the file before anything
is read. The package `safetensors` raises errors of its own for types that numpy does not have.
"""

import hashlib
import json
import math
import os
import stat
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from cad_edge.errors import BundleError, IntegrityError
from cad_edge_runtime.graph_summary import (
    BOOL,
    ELEMENT_TYPES,
    FLOAT,
    HALF,
    INT8,
    INT32,
    INT64,
    UINT8,
)

TENSORS = "tensors.safetensors"
LARGEST_HEADER = 1 << 24
MOST_TENSORS = 50_000
LARGEST_FILE = 1 << 34
_RANK = 8
_TYPES = {
    "F32": FLOAT,
    "F16": HALF,
    "I64": INT64,
    "I32": INT32,
    "I8": INT8,
    "U8": UINT8,
    "BOOL": BOOL,
}
"""What graphs can be bound to; the TensorProto data type of each."""

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in a file, and what it is."""

    elem_type: int
    """TensorProto data type."""
    shape: tuple[int, ...]
    begin: int
    """In bytes after the header."""

    @property
    def bytes(self) -> int:
        """Size."""
        return math.prod(self.shape) * ELEMENT_TYPES[self.elem_type].itemsize


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file whose header was found to be sound."""

    path: Path
    start: int
    """Of the tensors, in bytes."""
    tensors: dict[str, StoredTensor]

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors.values())

    def read(self) -> tuple[dict[str, Array], str]:
        """Read every tensor, each into an array of its own, and hash the file on the way.

        Returns
        -------
        The tensors by name, and the sha256 of the file.

        Raises
        ------
        BundleError
            The file cannot be read, or has become shorter.
        """
        found: dict[str, Array] = {}
        ordered = sorted(self.tensors.items(), key=lambda item: (item[1].begin, item[1].bytes))
        try:
            with self.path.open("rb", buffering=0) as file:
                digest = hashlib.sha256(file.read(self.start))
                for name, tensor in ordered:
                    array = np.empty(tensor.shape, ELEMENT_TYPES[tensor.elem_type])
                    _fill(file, array, self.path)
                    digest.update(array.reshape(-1).view(np.uint8).data)
                    found[name] = array
                digest.update(file.read(1))  # nothing, unless it has grown
        except OSError as problem:
            raise BundleError(f"{self.path} cannot be read: {problem.strerror}") from None
        return found, digest.hexdigest()


def _fill(file: RawIOBase, array: Array, path: Path) -> None:
    room = array.reshape(-1).view(np.uint8).data
    while len(room):
        count = file.readinto(room)
        if not count:
            raise _broken(path, "it has become shorter")
        room = room[count:]


def read_header(folder: Path, sha: str) -> TensorFile:
    """Read the header of an object's tensor file; no tensor is read.

    Parameters
    ----------
    folder
        Of the object.
    sha
        Its name, for messages.

    Raises
    ------
    BundleError
        There is no such file, it is larger than any of a bundle, or its header is broken or names
        a type that no graph can be bound to.
    """
    path = folder / TENSORS
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is no plain file; copy the bundle again")
        if status.st_size > LARGEST_FILE:
            raise BundleError(
                f"{path} has {status.st_size} bytes, allowed are {LARGEST_FILE}; export again"
            )
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LARGEST_HEADER, status.st_size - 8):
                raise _broken(path, f"its header would have {length} bytes")
            header = file.read(length)
    except FileNotFoundError:
        raise BundleError(f"object {sha} holds no {TENSORS}; export the bundle again") from None
    except OSError as problem:
        raise BundleError(f"{path} cannot be read: {problem.strerror}") from None
    return TensorFile(path, 8 + length, _tensors_of(path, header, status.st_size - 8 - length))


def _broken(path: Path, what: str) -> IntegrityError:
    return IntegrityError(f"{path} is broken ({what}); export the bundle again")


def _tensors_of(path: Path, header: bytes, size: int) -> dict[str, StoredTensor]:
    if header.count(b"[") > 3 * MOST_TENSORS or header.count(b"{") > MOST_TENSORS:
        raise _broken(path, f"its header names more than {MOST_TENSORS} tensors")
    try:
        entries = json.loads(header.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _broken(path, "its header is no JSON object with every name once") from None
    if not isinstance(entries, dict):
        raise _broken(path, "its header is no JSON object")
    entries.pop("__metadata__", None)
    found = {name: _tensor_of(path, name, entry) for name, entry in entries.items()}
    place = 0
    for name, tensor in sorted(found.items(), key=lambda item: (item[1].begin, item[1].bytes)):
        if tensor.begin != place:
            raise _broken(path, f"the tensor {name[:80]!r} begins at byte {tensor.begin}")
        place += tensor.bytes
    if place != size:
        raise _broken(path, f"its tensors take {place} bytes where there are {size}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _tensor_of(path: Path, name: str, entry: object) -> StoredTensor:
    what = f"the tensor {name[:80]!r}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(path, f"{what} is not stated by dtype, shape and data_offsets")
    kind = entry["dtype"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise BundleError(
            f"{what} of {path} is of the type {str(kind)[:20]!r}, and graphs are bound to "
            f"{', '.join(_TYPES)}; export the bundle again"
        )
    shape, offsets = entry["shape"], entry["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(_is_size(number) for number in numbers):
            raise _broken(path, f"{what} has a shape or place that is none")
    if len(shape) > _RANK or len(offsets) != 2:
        raise _broken(path, f"{what} has a shape or place that is none")
    tensor = StoredTensor(_TYPES[kind], tuple(shape), offsets[0])
    if math.prod(filter(None, shape)) > LARGEST_FILE or tensor.bytes != offsets[1] - offsets[0]:
        raise _broken(path, f"{what} is of shape {shape} and has another number of bytes")
    return tensor


def _is_size(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= LARGEST_FILE
