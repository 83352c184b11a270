"""What a bundle holds: calibrations, and bytes on the disk."""

from collections.abc import Iterable, Sequence

from cad_edge.calibration import Calibration
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.instruments.command_runner import folder_bytes


def calibrations_of(manifest: Manifest) -> dict[str, Calibration]:
    """Calibration of every task of a bundle."""
    return {name: entry.calibration for name, entry in manifest.tasks.items()}


def task_bytes(bundle: Bundle, manifest: Manifest, name: str) -> int:
    """Bytes that a bundle keeps for one task alone: its tensors and its routing statistics."""
    entry = manifest.tasks[name]
    return objects_bytes(bundle, filter(None, (entry.routing, entry.engine.tensors)))


def version_bytes(bundle: Bundle, manifest: Manifest, names: Sequence[str]) -> int:
    """Bytes of all objects that a version of a bundle needs for the tasks ``names``."""
    tasks = {name: manifest.tasks[name] for name in names}
    return objects_bytes(bundle, manifest.model_copy(update={"tasks": tasks}).objects())


def objects_bytes(bundle: Bundle, objects: Iterable[str]) -> int:
    """Bytes on the disk of the objects of these names."""
    return sum(folder_bytes(bundle.object_folder(sha)) for sha in objects)
