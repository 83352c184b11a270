"""Small bundles for the tests of the store."""

import hashlib
from pathlib import Path

from cad_edge.calibration import Calibration, decide
from cad_edge.data.image import ImageRecipe
from cad_edge.store.artifact import BackboneIdentity, Provenance
from cad_edge.store.atomic_write import TEMPORARY
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Certificate, Engine, Manifest, Selector, Stage, TaskEntry

GRAPH = {"graph.onnx": b"graph", "weights.bin": bytes(range(256)) * 64}
RECIPE = ImageRecipe(width=32, height=32)


def tensors(task: str) -> dict[str, bytes]:
    return {"tensors.safetensors": f"tensors of {task}".encode() * 50}


def routing(task: str) -> dict[str, bytes]:
    return {"tensors.safetensors": f"routing of {task}".encode() * 50}


def sha_of(files: dict[str, bytes]) -> str:
    """Object sha256 by the words of the format, not by the code under test."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()


def engine(task: str | None) -> Engine:
    stage = Stage(graph=sha_of(GRAPH), inputs={"image": "frame/image"})
    bound = sha_of(tensors(task)) if task else None
    return Engine(recipe=RECIPE, stages=[stage], tensors=bound, layout="shared", precision="fp32")


def entry(task: str, position: int) -> TaskEntry:
    calibration = Calibration(scheme="split", folds=1, scores=[0.1, 0.2], map_peaks=[0.3, 0.4])
    return TaskEntry(
        method="cmpmb",
        position=position,
        artifact="a" * 64,
        engine=engine(task),
        routing=sha_of(routing(task)),
        radius=2.5,
        calibration=calibration,
        decision=decide(calibration, 0.05),
        certificate=Certificate(
            reference="torch",
            runtime="onnxruntime",
            witness_images=1,
            adversarial_images=1,
            tolerance=1e-4,
            score_range=1.0,
            score_max=0.0,
            score_mean=0.0,
            map_max=None,
            map_mean=None,
            flips=0,
        ),
        hyperparameters={},
        provenance=Provenance(seed=0, versions={}, data_sha256="b" * 64, images=2, seconds=1.0),
    )


def manifest_of(tasks: list[str], version: int, previous: str | None) -> Manifest:
    return Manifest(
        version=version,
        previous=previous,
        backbone=BackboneIdentity(id="efficientnet-lite0", sha256="c" * 64),
        selector=Selector(kind="discriminant", engine=engine(None), tasks=tasks),
        tasks={task: entry(task, position) for position, task in enumerate(tasks)},
    )


def export(bundle: Bundle, tasks: list[str]) -> str:
    """Commit a version that holds ``tasks``; return the manifest's sha256."""
    with bundle.lock():
        bundle.add_object(GRAPH)
        for task in tasks:
            bundle.add_object(tensors(task))
            bundle.add_object(routing(task))
        current = bundle.pointer() if bundle.exists() else None
        version = current.version + 1 if current else 1
        previous = current.manifest if current else None
        return bundle.commit(manifest_of(tasks, version, previous)).manifest


def content(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def leftovers(folder: Path) -> list[Path]:
    return sorted(folder.rglob(f"{TEMPORARY}*"))
