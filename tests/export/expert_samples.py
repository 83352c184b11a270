"""Tasks with shared weights and drawn experts on a tiny base model, without learning."""

from collections.abc import Sequence

import numpy as np
import torch

from cad_edge.calibration import Calibration
from cad_edge.store.artifact import Artifact, LearnedTask, Provenance, Tensors, with_sharing_tasks
from cad_edge_export.certificate import ModelAnswers, adversarial_images
from cad_edge_export.fused_task import FusedTask
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.experts import new_private, new_shared
from cad_edge_training.methods.cl_anomaly.learn import build_model
from cad_edge_training.methods.cl_anomaly.sites import sites_of
from cad_edge_training.methods.cl_anomaly.weight_sharing_copy import projector_of
from tests.training.cl_anomaly_samples import pictures

NAMES = ("red", "blue", "green")
TINTS = {"red": (150, 40, 40), "blue": (40, 50, 150), "green": (30, 130, 50)}
SIZE = 0.15  # of drawn weights; answers of experts are then no smaller than those of linears


def frames(base: LlavaBase, each: int = 2) -> np.ndarray:
    """Good and defective frames of all products, (2 * each * 3, side, side, 3) uint8."""
    side = base.recipe.width
    return np.concatenate(
        [pictures(side, TINTS[name], each, bad, 5) for name in NAMES for bad in (False, True)]
    )


def sharing_tasks(base: LlavaBase, config: Config, count: int, seed: int = 0) -> list[LearnedTask]:
    """Tasks with drawn experts; each knows all of them."""
    rng = np.random.default_rng(seed)
    tasks = []
    for position, name in enumerate(NAMES[:count]):
        tasks.append(_task(base, config, position, name, rng))
    return with_sharing_tasks(tasks)


def _task(
    base: LlavaBase, config: Config, position: int, name: str, rng: np.random.Generator
) -> LearnedTask:
    sites, parts = sites_of(base.language), config.composition
    own: Tensors = {}
    shared_weights: Tensors = {"stage": np.array(position + 1)}
    if parts.private:
        own |= _drawn(new_private(sites, parts.rank, rng), rng)
    if parts.shared:
        shared_weights |= _drawn(new_shared(sites, parts.experts, parts.rank, rng), rng)
    if config.train_projector:
        shared_weights |= {
            key: value.numpy() + _drawn({key: value.numpy()}, rng)[key]
            for key, value in projector_of(base).items()
        }
    own["anchor"] = _mean_tokens(base, pictures(base.recipe.width, TINTS[name], 2, False))
    artifact = Artifact(
        method="cl_anomaly",
        task=name,
        position=position,
        backbone=base.identity,
        recipe=base.recipe,
        hyperparameters=config.model_dump(mode="json"),
        calibration=Calibration(scheme="split", folds=1, scores=[0.0, 1.0], map_peaks=[]),
        false_reject_rate=0.2,
        provenance=Provenance(seed=0, versions={}, data_sha256="0" * 64, images=2, seconds=0.0),
    )
    return LearnedTask(artifact, own, {}, {}, shared_weights, sha256=f"{position}" * 64)


def _drawn(like: Tensors, rng: np.random.Generator) -> Tensors:
    return {name: rng.normal(0, SIZE, one.shape).astype(np.float32) for name, one in like.items()}


def _mean_tokens(base: LlavaBase, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return base.look(torch.from_numpy(images)).mean(dim=(0, 1)).numpy()


def reference(base: LlavaBase, task: LearnedTask, images: np.ndarray) -> np.ndarray:
    """Scores (n,) by the equations of the paper."""
    config = Config.model_validate(task.artifact.hyperparameters)
    with torch.inference_mode():
        score, _ = build_model(base, config, task.model_tensors())(torch.from_numpy(images))
    return score.numpy()


def run_modules(fused: FusedTask, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of the last stage by name, by torch and bound as the graphs are."""
    values = {"frame/image": torch.from_numpy(images)}
    values |= {f"tensor/{name}": torch.from_numpy(value) for name, value in fused.bound().items()}
    out: Sequence[torch.Tensor] = ()
    with torch.inference_mode():
        for number, stage in enumerate(fused.stages):
            out = stage.module.eval()(*(values[item.source] for item in stage.inputs))
            values |= {
                f"{number}/{name}": one for name, one in zip(stage.outputs, out, strict=True)
            }
    return {name: one.numpy() for name, one in zip(fused.stages[-1].outputs, out, strict=True)}


def every_image(base: LlavaBase) -> np.ndarray:
    """Frames of products, then adversarial ones."""
    recipe = base.recipe
    return np.concatenate([frames(base), adversarial_images(recipe.height, recipe.width)])


def difference(got: np.ndarray | ModelAnswers, expected: np.ndarray, natural: int) -> float:
    """Largest difference as a share of the range over natural images, or of a larger value."""
    scores = got.score if isinstance(got, ModelAnswers) else got
    assert scores.shape == expected.shape and scores.dtype == expected.dtype == np.float32
    span = np.maximum(np.abs(expected), np.ptp(expected[:natural]))
    return float((np.abs(scores - expected) / span).max())
