"""CDAD in seconds: small options, textures of 64 px, and steps without a folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cad_edge.data.stream import Stream
from cad_edge.store.artifact import LearnedTask, read_artifact
from cad_edge_training.backbones import Backbone
from cad_edge_training.folds import draw_folds
from cad_edge_training.learned import LearningRequest, LearningResult
from cad_edge_training.methods.cdad.config import Config, defaults_for
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.methods.cdad.training_loop import TrainingData
from tests.training import small_products
from tests.training.small_products import LITE0, a_request, texture

METHOD = "cdad"
TINY = {
    **{"channels": "16", "width": "16", "inner_width": "16", "heads": "2", "window": "3"},
    **{"updates": "5", "batch": "8", "learning_rate": "1e-3", "schedule": "constant"},
    **{"initial": "drawn", "projection": "update", "exemplars": "0", "jitter": "0"},
}
SIDE = 64


def options(**more: object) -> Config:
    """Options of the embedded backbone, small."""
    return Config.model_validate(defaults_for(LITE0) | TINY | more)


def textures(name: str, count: int = 10, seed: int = 3) -> NDArray[np.uint8]:
    """Good parts (count, 64, 64, 3)."""
    rng = np.random.default_rng(seed)
    return np.stack([texture(name, rng)[:SIDE, :SIDE] for _ in range(count)])


def request_for(
    name: str, backbone: Backbone, images: NDArray[np.uint8] | None = None, **more: object
) -> LearningRequest:
    """A request to learn a product, of its own texture if no images are given."""
    shown = textures(name) if images is None else images
    folds = draw_folds(len(shown), 0.1, 0, more.get("groups"))
    return replace(a_request(shown, backbone, folds, **more), task=name)


def learn(stream: Stream, out: Path, **more: str) -> list[str]:
    """Learn a stream by the command's own function."""
    return small_products.learn(stream, out, {**TINY, **more}, method=METHOD)


def template_in(folder: Path) -> LearnedTask:
    """A learned artifact, for its record."""
    small_products.write_product(folder, small_products.NAMES[0], good=6)
    learn(small_products.stream_of(folder, small_products.NAMES[:1]), folder / "out")
    return read_artifact(folder / "out" / small_products.NAMES[0])


def as_task(template: LearnedTask, name: str, result: LearningResult, config: Config):
    """A result as the next step is given it, without writing it."""
    changed = {"task": name, "hyperparameters": config.model_dump(mode="json")}
    changed["calibration"] = result.calibration
    record = template.artifact.model_copy(update=changed)
    return replace(
        template,
        artifact=record,
        tensors=result.tensors,
        shared_weights=result.shared_weights,
        sharing_tasks=(),
    )


def learned_at(out: Path, *names: str) -> tuple[LearnedTask, ...]:
    """Artifacts by name."""
    return tuple(read_artifact(out / name) for name in names)


def drawn_data(images: int = 6, copies: int = 2, channels: int = 8, side: int = 4) -> TrainingData:
    """Latents of a seed, those with a defect far from clean ones."""
    with torch.random.fork_rng([]):
        torch.manual_seed(7)
        clean = torch.randn(images, channels, side, side)
        defects = 10 + torch.randn(images, copies, channels, side, side)
    return TrainingData(Parts(clean), Parts(defects))


def files_of(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
