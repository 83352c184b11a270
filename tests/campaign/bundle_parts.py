"""A bundle in memory, so that it can be damaged and written again, hashed anew or not."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cad_edge.schema import sha256_of
from cad_edge.store.objects import object_sha256


@dataclass
class BundleParts:
    """What a bundle consists of; ``text`` stands for the manifest once it is no JSON any more."""

    manifest: dict[str, Any]
    objects: dict[str, dict[str, bytes]]
    name: str
    """sha256 of the manifest as it was."""

    pointer: dict[str, Any]
    text: bytes | None = None
    pointer_text: bytes | None = None
    changed: set[str] = field(default_factory=set)
    """Objects whose files were touched."""

    def graphs(self) -> list[str]:
        """Objects that hold a graph."""
        return sorted(sha for sha, files in self.objects.items() if "graph.onnx" in files)

    def tensor_files(self) -> list[str]:
        """Objects that hold tensors."""
        return sorted(sha for sha, files in self.objects.items() if "tensors.safetensors" in files)

    def replace(self, sha: str, name: str, data: bytes) -> None:
        """Give a file of an object other bytes."""
        self.objects[sha] = {**self.objects[sha], name: data}
        self.changed.add(sha)

    def hash_again(self) -> None:
        """Name everything by what it holds now, as somebody would who wants it to be opened."""
        text = self.manifest_bytes()
        for sha in self.changed & self.objects.keys():
            files = self.objects.pop(sha)
            new = object_sha256({name: sha256_of(data) for name, data in files.items()})
            self.objects[new] = files
            text = re.sub(sha.encode(), new.encode(), text)
        self.text, self.name = text, sha256_of(text)
        self.pointer = {**self.pointer, "manifest": self.name}

    def manifest_bytes(self) -> bytes:
        """Bytes of the manifest."""
        if self.text is not None:
            return self.text
        return (json.dumps(self.manifest, sort_keys=True, indent=1) + "\n").encode()

    def write(self, folder: Path) -> None:
        """Write the bundle to a folder that is not there."""
        (folder / "manifests").mkdir(parents=True)
        (folder / "manifests" / f"{self.name}.json").write_bytes(self.manifest_bytes())
        for sha, files in self.objects.items():
            (folder / "objects" / sha).mkdir(parents=True)
            for name, data in files.items():
                (folder / "objects" / sha / name).write_bytes(data)
        pointer = json.dumps(self.pointer, sort_keys=True, indent=1).encode()
        (folder / "bundle.json").write_bytes(
            pointer if self.pointer_text is None else self.pointer_text
        )


def read_parts(bundle: Path) -> BundleParts:
    """Read the version in force, and every object."""
    pointer = json.loads((bundle / "bundle.json").read_bytes())
    name = pointer["manifest"]
    return BundleParts(
        manifest=json.loads((bundle / "manifests" / f"{name}.json").read_bytes()),
        objects={
            folder.name: {path.name: path.read_bytes() for path in folder.iterdir()}
            for folder in sorted((bundle / "objects").iterdir())
        },
        name=name,
        pointer=pointer,
    )
