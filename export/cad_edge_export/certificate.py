"""Certificates: the shipped graphs answer as torch did, or the export fails and says where."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from cad_edge.data.depth import DepthRange
from cad_edge.errors import ArtifactError, CertificateError
from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge.store.manifest import Certificate, Quantisation
from cad_edge_export.drift import drift
from cad_edge_export.fused_task import FusedTask, ModulePrecision
from cad_edge_export.graph_files import Graph, open_graph
from cad_edge_export.level_certificate import (
    LevelAnswers,
    level_differences,
    levels_by_torch,
    levels_in,
)
from cad_edge_export.routing_certificate import same_experts
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods import load_method, saved_config

# Largest difference of score or map, as a fraction of the score's or map's range.
TOLERANCE: Mapping[ModulePrecision, float] = {"fp32": 1e-4, "fp16": 3e-2}

REFERENCE = f"torch {importlib.metadata.version('torch')}"

Array = np.ndarray[Any, np.dtype[Any]]


def runtime_name() -> str:
    """Return what runs the engine of a certificate."""
    return f"onnxruntime {load_onnxruntime().__version__} CPUExecutionProvider"


@dataclass(frozen=True)
class ModelAnswers:
    """What a model says of some images."""

    score: Array
    """(n,) float32."""
    anomaly_map: Array | None
    """(n, h, w) float32."""
    levels: LevelAnswers | None = None


def adversarial_images(height: int, width: int) -> Array:
    """Black, white, noise, checkerboard and saturated stripes, (5, height, width, 3) uint8."""
    rows, columns = np.indices((height, width))
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    checker = np.repeat((((rows // 8 + columns // 8) % 2) * 255)[..., None], 3, axis=2)
    stripes = np.zeros((height, width, 3), dtype=np.uint8)
    stripes[rows, columns, (columns // 4) % 3] = 255
    black = np.zeros_like(stripes)
    return np.stack([black, black + 255, noise, checker.astype(np.uint8), stripes])


def adversarial_depth(depth: DepthRange, height: int, width: int) -> Array:
    """Near, far, noise, a checkerboard and stripes with gaps, (5, height, width) float32.

    In the sensor's units; half of the stripes was not measured.
    """
    rows, columns = np.indices((height, width))
    low, high = np.float32(depth.low), np.float32(depth.high)
    noise = np.random.default_rng(0).uniform(low, high, (height, width)).astype(np.float32)
    checker = np.where((rows // 8 + columns // 8) % 2, low, high)
    stripes = np.where((columns // 4) % 2, noise, np.float32(0))
    near = np.full((height, width), low)
    return np.stack([near, near + (high - low), noise, checker, stripes]).astype(np.float32)


def in_views(images: Array, views: int) -> Array:
    """Make frames of several views, (n, views, height, width, 3), whose views differ."""
    if views == 1:
        return images
    return np.stack([np.roll(images, -place, axis=0) for place in range(views)], axis=1)


def certify(
    task: LearnedTask,
    model: torch.nn.Module,
    fused: FusedTask,
    graphs: Sequence[Graph],
    precision: ModulePrecision,
    threshold: float,
) -> Certificate:
    """Compare an engine with torch on the witness images and on adversarial ones.

    Parameters
    ----------
    task
        The artifact; its witness holds what torch answered when the task was learned.
    model
        The reference model, image -> (score, anomaly_map).
    fused
        The engine's stages and tensors.
    graphs
        One graph per stage.
    threshold
        Calibrated score threshold; no image may change sides.

    Raises
    ------
    ArtifactError
        The reference model itself answers with values that are no numbers.
    CertificateError
        A difference above the tolerance, or a verdict that flips.
    """
    expected, got = _both(task, model, fused, graphs)
    certificate = compare(expected, got, TOLERANCE[precision], threshold, *_known(task))
    levels = level_differences(task, expected.levels, got.levels)
    certificate = certificate.model_copy(
        update={**drift(task, expected.score, threshold), **levels, **same_experts(task, model)}
    )
    _judge(certificate, TOLERANCE[precision], expected, got, threshold, task.artifact.task)
    return certificate


def measure(
    task: LearnedTask,
    model: torch.nn.Module,
    fused: FusedTask,
    graphs: Sequence[Graph],
    threshold: float,
    evidence: Quantisation,
) -> Certificate:
    """Measure an eight-bit engine in the same way; ``evidence`` is what it was judged by.

    Scores are compared after the shift that calibration took up.
    """
    expected, got = _both(task, model, fused, graphs)
    moved = replace(got, score=got.score - np.float32(evidence.score_shift))
    certificate = compare(expected, moved, None, threshold, *_known(task))
    return certificate.model_copy(
        update={
            "quantisation": evidence,
            **drift(task, expected.score, threshold),
            **level_differences(task, expected.levels, got.levels),
            **same_experts(task, model),
        }
    )


def reference_model(task: LearnedTask, backbone: Backbone) -> torch.nn.Module:
    """Build the method's own model of a task, in torch and float32."""
    artifact = task.artifact
    config = saved_config(artifact.task, artifact.method, artifact.hyperparameters)
    return load_method(artifact.method).build_model(backbone, config, task.model_tensors())


def _both(
    task: LearnedTask, model: torch.nn.Module, fused: FusedTask, graphs: Sequence[Graph]
) -> tuple[ModelAnswers, ModelAnswers]:
    """Answers of torch and of the graphs on witness images, then adversarial ones."""
    witness = task.witness["image"]
    views = witness.shape[1] if witness.ndim == 5 else 1
    adversarial = in_views(adversarial_images(*witness.shape[-3:-1]), views)
    depth, planes = _witness_depth(task), None
    if depth is not None and task.artifact.depth is not None:
        planes = adversarial_depth(task.artifact.depth, *witness.shape[1:3])
    with torch.inference_mode():
        reference = _answers(model, adversarial, planes)
        known = _answers(model, witness, depth) if task.evolves else _witnessed(task)
    shown, planes = np.concatenate([witness, adversarial]), _joined(depth, planes)
    got = run_chain(fused, graphs, shown, planes)
    expected = ModelAnswers(
        np.concatenate([known.score, reference.score]),
        _joined(known.anomaly_map, reference.anomaly_map),
        # A witness holds no levels: they are the model's as it is now.
        None if got.levels is None else levels_by_torch(model, shown, planes),
    )
    return expected, got


def _witness_depth(task: LearnedTask) -> Array | None:
    """Depth of the witness images, None where the task does not look at depth.

    Raises
    ------
    ArtifactError
        It does, and the witness holds none.
    """
    if task.artifact.depth is None:
        return None
    if "depth" not in task.witness:
        raise ArtifactError(
            f"the task {task.artifact.task} looks at depth, and its witness holds none; learn it "
            "again"
        )
    return task.witness["depth"]


def _witnessed(task: LearnedTask) -> ModelAnswers:
    """Return what torch answered for the witness images when the task was learned."""
    return ModelAnswers(task.witness["score"], task.witness.get("anomaly_map"))


def _known(task: LearnedTask) -> tuple[Sequence[float], int]:
    return task.artifact.calibration.scores, len(task.witness["image"])


def _answers(model: torch.nn.Module, images: Array, depth: Array | None) -> ModelAnswers:
    inputs = [torch.from_numpy(one) for one in (images, depth) if one is not None]
    score, anomaly_map = model(*inputs)
    return ModelAnswers(score.numpy(), None if anomaly_map is None else anomaly_map.numpy())


def _joined(first: Array | None, second: Array | None) -> Array | None:
    return None if first is None or second is None else np.concatenate([first, second])


def run_chain(
    fused: FusedTask, graphs: Sequence[Graph], images: Array, depth: Array | None = None
) -> ModelAnswers:
    """Answer with ONNX Runtime on the CPU."""
    values = run_stages(fused, graphs, images, depth)
    last = len(fused.stages) - 1
    score, anomaly_map = values[f"{last}/score"], values.get(f"{last}/anomaly_map")
    return ModelAnswers(score, anomaly_map, levels_in(values, last))


def run_stages(
    fused: FusedTask, graphs: Sequence[Graph], images: Array, depth: Array | None = None
) -> dict[str, Array]:
    """Run stage by stage as the runtime does; return every value by its source."""
    values: dict[str, Array] = {"frame/image": images.reshape(-1, *images.shape[-3:])}
    if depth is not None:
        values["frame/depth"] = depth
    values |= {f"tensor/{name}": tensor for name, tensor in fused.bound().items()}
    for number, (stage, graph) in enumerate(zip(fused.stages, graphs, strict=True)):
        session = open_graph(graph)
        feeds = {item.name: values[item.source] for item in stage.inputs}
        outputs = session.run(list(stage.outputs), feeds)
        values |= {
            f"{number}/{name}": value for name, value in zip(stage.outputs, outputs, strict=True)
        }
    return values


def compare(
    expected: ModelAnswers,
    got: ModelAnswers,
    tolerance: float | None,
    threshold: float,
    normal_scores: Sequence[float],
    witnesses: int,
) -> Certificate:
    """Measure differences as fractions of the range, or of the value itself where it is larger.

    The range is that of held-out normals and witness images; an adversarial image may lie a hundred
    ranges outside, where a float32 cannot hold a ten-thousandth of the range.
    """
    known = np.concatenate([np.asarray(normal_scores), expected.score[:witnesses]])
    score_range = max(float(known.max() - known.min()), 1e-6)
    score = np.abs(expected.score - got.score) / np.maximum(np.abs(expected.score), score_range)
    maps = _map_difference(expected, got, witnesses)
    flips = (expected.score > threshold) != (got.score > threshold)
    return Certificate(
        reference=REFERENCE,
        runtime=runtime_name(),
        witness_images=witnesses,
        adversarial_images=len(expected.score) - witnesses,
        tolerance=tolerance,
        score_range=score_range,
        score_max=float(score.max()),
        score_mean=float(score.mean()),
        map_max=None if maps is None else float(maps.max()),
        map_mean=None if maps is None else float(maps.mean()),
        flips=int(flips.sum()),
    )


def _map_difference(expected: ModelAnswers, got: ModelAnswers, witnesses: int) -> Array | None:
    if expected.anomaly_map is None or got.anomaly_map is None:
        return None
    known = expected.anomaly_map[:witnesses]
    span = max(float(known.max() - known.min()), 1e-6)
    scale = np.maximum(np.abs(expected.anomaly_map).max(axis=(1, 2), keepdims=True), span)
    return np.asarray(np.abs(expected.anomaly_map - got.anomaly_map) / scale)


def _judge(
    certificate: Certificate,
    tolerance: float,
    expected: ModelAnswers,
    got: ModelAnswers,
    threshold: float,
    task: str,
) -> None:
    said = [expected.score, *([] if expected.levels is None else expected.levels.arrays())]
    if not all(np.isfinite(one).all() for one in said):
        raise ArtifactError(
            f"task {task}: its own model answers with values that are no numbers, in torch too; "
            "look at the pictures of its good parts, and learn it again; nothing was written"
        )
    differences = [certificate.score_max, certificate.map_max]
    differences += [certificate.levels_max, certificate.level_maps_max]
    worst = float(np.max([one for one in differences if one is not None]))
    if np.isfinite(worst) and worst <= tolerance and not certificate.flips:
        return
    image = int(np.argmax(np.abs(expected.score - got.score)))
    levels = "" if certificate.levels_max is None else f"levels by {certificate.levels_max:.2g}, "
    raise CertificateError(
        f"task {task}: the exported engine does not answer as torch did (score differs by "
        f"{certificate.score_max:.2g} of its range, map by {certificate.map_max or 0.0:.2g}, "
        f"{levels}{certificate.flips} verdicts flip at threshold {threshold:.4g}; worst image "
        f"{image} of {len(expected.score)}; tolerance {tolerance:g}); nothing was written"
    )


def tensors_as_stored(tensors: Tensors) -> Tensors:
    """Contiguous copies in name order, as they go into an object."""
    return {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
