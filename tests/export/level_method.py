"""A method of a few lines among the real ones: with depth or not, with shared weights or not."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cad_edge_training.methods
from cad_edge.calibration import Calibration
from cad_edge.data.depth import DepthRange
from cad_edge.schema import Record
from cad_edge.store.artifact import LearnedTask, read_artifact, write_artifact
from cad_edge_export.fused_task import FusedTask, GraphInput, StageModule
from cad_edge_export.trunk import entry_stage, image_input

NAME = "level"
RANGE = DepthRange(low=480.0, high=520.0)


class Config(Record):
    """Options."""

    depth: bool


class Level(nn.Module):
    """image [, depth] -> score, the mean of brightness and depth times a gain; and a map of it."""

    def __init__(self, depth: bool, gain: Tensor) -> None:
        super().__init__()
        self.depth, self.gain = depth, gain

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Judge frames; what is not asked for must not be given."""
        assert len(given) == 1 + self.depth
        return judged(given, self.gain)


class Fast(nn.Module):
    """The same with the gain as an input."""

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Judge frames by image, depth where it is looked at, and gain."""
        return judged(given[:-1], given[-1])


def judged(given: tuple[Tensor, ...], gain: Tensor) -> tuple[Tensor, Tensor]:
    """Score and map; what was not measured adds nothing."""
    grid = sum((one for one in given[1:]), given[0].float().mean(dim=3))
    return (gain * grid).flatten(1).mean(dim=1), gain * grid


def build_model(backbone, config: Config, tensors) -> Level:
    return Level(config.depth, torch.from_numpy(tensors["gain"]))


def calibration_of(levels: np.ndarray, gain: np.ndarray) -> Calibration:
    scores = sorted(float(value) for value in levels * gain)
    return Calibration(scheme="split", folds=1, scores=scores, map_peaks=[])


def recalibrate(backbone, config: Config, task: LearnedTask) -> Calibration:
    """Held-out scores by the newest model version."""
    return calibration_of(task.tensors["levels"], task.sharing_tasks[-1].shared_weights["gain"])


def shared(task: LearnedTask, backbone, precision) -> FusedTask:
    config = Config.model_validate(task.artifact.hyperparameters)
    gain = task.model_tensors()["gain"]
    size = backbone.recipe.height, backbone.recipe.width
    depth = GraphInput("depth", "frame/depth", torch.ones(2, *size), (0,))
    inputs = (
        image_input(backbone),
        *([depth] if config.depth else []),
        GraphInput("gain", "tensor/gain", torch.from_numpy(gain)),
    )
    key = f"level {config} {backbone.recipe} {precision}"
    stage = StageModule(Fast(), inputs, ("score", "anomaly_map"), key)
    return FusedTask((entry(backbone, config, precision), stage), {"gain": gain})


def entry(backbone, config: Config, precision) -> StageModule:
    """First stage: that of CMPMB with the options of `tests.training.small_products.TINY`."""
    return entry_stage(backbone, 1, precision)


class LevelMethod:
    """The method; its artifacts are made by `Learner`."""

    config = Config
    build_model = staticmethod(build_model)
    recalibrate = staticmethod(recalibrate)

    def defaults_for(self, backbone: str):
        return {"depth": True}

    def learn(self, request, config: Config):
        raise NotImplementedError


class LevelFusion:
    """Its fusion, which has one graph for both layouts."""

    shared = fused = staticmethod(shared)
    entry = staticmethod(entry)

    def bias_corrected(self, fused: FusedTask, float_hidden, quantised_hidden):
        """A gain does not move with rounding."""
        return fused.tensors


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the method among those that there are."""
    names = [*cad_edge_training.methods.method_names(), NAME]
    monkeypatch.setattr(cad_edge_training.methods, "method_names", lambda: names)
    parts = {
        f"cad_edge_training.methods.{NAME}.method": {"METHOD": LevelMethod()},
        f"cad_edge_export.fusions.{NAME}": {"FUSION": LevelFusion()},
    }
    for path, content in parts.items():
        module = ModuleType(path)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, path, module)


@dataclass(frozen=True)
class Learner:
    """Makes artifacts of products that another method has learned, with its routing statistics."""

    source: Path

    def learn(
        self,
        out: Path,
        name: str,
        depth: bool,
        shared_weights: float | None = None,
        gaps: bool = True,
    ) -> Path:
        """Write an artifact.

        Parameters
        ----------
        out
            Folder of artifacts.
        name
            Of a product under ``source``.
        depth
            Whether it looks at depth.
        shared_weights
            Gain of the tasks as it is after this task; None: the task is alone, its gain is 1.
        gaps
            Whether a part of the witness's depth was not measured.
        """
        task = read_artifact(self.source / name)
        image = task.witness["image"]
        rng = np.random.default_rng(len(name))
        planes = rng.uniform(490, 510, image.shape[:3]).astype(np.float32)
        planes[:, :9, :9] *= not gaps
        gain = np.array(1.0 if shared_weights is None else shared_weights, np.float32)
        inputs = [torch.from_numpy(one) for one in ([image, planes] if depth else [image])]
        score, anomaly_map = Level(depth, torch.from_numpy(gain))(*inputs)
        levels = float(score.mean()) / float(gain) + np.linspace(-40, 40, 30, dtype=np.float32)
        alone = {} if shared_weights is not None else {"gain": gain}
        return write_artifact(
            out,
            task.artifact.model_copy(
                update={
                    "method": NAME,
                    "hyperparameters": {"depth": depth},
                    "calibration": calibration_of(levels, gain),
                    "depth": RANGE if depth else None,
                }
            ),
            {"levels": levels} | alone,
            task.routing,
            {"image": image, "score": score.numpy(), "anomaly_map": anomaly_map.numpy()}
            | ({"depth": planes} if depth else {}),
            None if shared_weights is None else {"gain": gain},
        )
