"""Where an interrupted learning goes on: tensors beside a JSON that names them, and no pickle.

checkpoint.json              written last and replaced in one go
step-00000050.safetensors    what the training has changed so far
"""

import json
from pathlib import Path

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cad_edge.errors import ArtifactError
from cad_edge.schema import Record, Sha256, canonical_json, parse_json, sha256_of
from cad_edge.store.artifact import Tensors
from cad_edge.store.atomic_write import remove, replace_file

POINTER = "checkpoint.json"


class Checkpoint(Record):
    """``checkpoint.json``."""

    fingerprint: Sha256 = Field(description="of everything that the training starts from")
    step: int = Field(ge=0, description="steps that are done")
    tensors: str = Field(description="name of the file beside it")
    sha256: Sha256 = Field(description="of that file")


class Checkpoints:
    """The checkpoint of one training; only the newest is kept."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Choose a folder, which need not be there.

        Parameters
        ----------
        folder
            Nothing else is in it.
        fingerprint
            sha256 of what the training starts from; a checkpoint of another one is not used.
        """
        self._folder, self._fingerprint = folder, fingerprint

    def save(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Keep ``tensors`` as they are after ``step`` steps, in the place of those before.

        Raises
        ------
        BundleError
            The disk is full or the folder cannot be written.
        """
        name = f"step-{step:08d}.safetensors"
        data = save_tensors(
            {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        )
        replace_file(self._folder / name, data)
        checkpoint = Checkpoint(
            fingerprint=self._fingerprint, step=step, tensors=name, sha256=sha256_of(data)
        )
        replace_file(self._folder / POINTER, canonical_json(checkpoint))
        for path in self._folder.glob("step-*.safetensors"):
            if path.name != name:
                remove(path)

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        """Return steps done and tensors; None where there is nothing whole of this training."""
        try:
            record = (self._folder / POINTER).read_bytes()
            found = parse_json(Checkpoint, record, POINTER, ArtifactError)
            data = (self._folder / found.tensors).read_bytes()
            if found.fingerprint != self._fingerprint or found.sha256 != sha256_of(data):
                return None
            return found.step, load_tensors(data)
        except (OSError, ArtifactError, SafetensorError):
            return None


def fingerprint_of(words: object, start: Tensors) -> str:
    """sha256 of what a training starts from: words that JSON can write, and arrays by name."""
    said = [json.dumps(words, sort_keys=True).encode()]
    for name in sorted(start):
        value = np.ascontiguousarray(start[name])
        said += [f"{name} {value.dtype} {value.shape}".encode(), value.tobytes()]
    return sha256_of(b"\n".join(said))
