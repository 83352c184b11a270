"""CMPMB fused: one pass per frame, early blocks shared with routing, the task as bound tensors.

Exact rewrites (METHODS 2.3, 0.4): batch norms into convolutions, prompts of convolutional trunks
into biases (fused layout), |z - c|^2 = |z|^2 - 2 z c + |c|^2 with the last two terms constant and
the minimum taken before the root, shift of the whitening into a bias, and map = A M A^T.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import FusedTask, GraphInput, Precision, StageModule
from cad_edge_export.trunk import (
    enter,
    entry_stage,
    folded,
    folds_prompt,
    image_input,
    in_precision,
)
from cad_edge_training.backbones import Backbone
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.memory import root_floor
from cad_edge_training.methods.cmpmb.model import (
    as_patches,
    patch_features,
    read_prompts,
    statistics_of,
    top_mean,
)


def shared(task: LearnedTask, backbone: Backbone, precision: Precision) -> FusedTask:
    """Entry and head of the method, with everything of the task as tensors."""
    config = Config.model_validate(task.artifact.hyperparameters)
    tensors = fold_tensors(task.tensors, config)
    last = entry_block(backbone, config)
    entry = entry_stage(backbone, last, precision)
    with torch.inference_mode():
        hidden = entry.module(entry.inputs[0].example)[1]
    head = Head(in_precision(folded(backbone), precision), config, last, precision, tuple(tensors))
    inputs = (
        GraphInput("hidden", "0/hidden", hidden.clone(), (0,)),
        *(
            GraphInput(name, f"tensor/{name}", torch.from_numpy(value))
            for name, value in tensors.items()
        ),
    )
    shapes = {name: value.shape for name, value in tensors.items()}
    key = f"head {backbone.identity.sha256} {backbone.recipe} {config} {shapes} {precision}"
    return FusedTask((entry, StageModule(head, inputs, ("score", "anomaly_map"), key)), tensors)


def fused(task: LearnedTask, backbone: Backbone, precision: Precision) -> FusedTask:
    """One self-contained graph: constants folded, prompts baked."""
    config = Config.model_validate(task.artifact.hyperparameters)
    tensors = fold_tensors(task.tensors, config)
    module = SelfContained(backbone, config, tensors, precision)
    return FusedTask((StageModule(module, (image_input(backbone),), ("score", "anomaly_map")),))


def entry_block(backbone: Backbone, config: Config) -> int:
    """Last block of the entry: as far as routing goes, but not into a prompted block.

    Also not past a block whose features the head needs and could no longer see.
    """
    last = min(max(backbone.routing_blocks), min(config.blocks + config.statistics_blocks))
    return min(last, config.prompt_from_block - 1) if config.prompts else last


def fold_tensors(learned: Tensors, config: Config) -> Tensors:
    """Tensors of the artifact in the form that the head takes, all float32."""
    matrix, memory = learned["whitening/matrix"], learned["memory"]
    centres = _padded(memory, config.memory_size)
    tensors = {
        "memory": (-2 * centres.T).astype(np.float32),
        "memory_norm": (centres.astype(np.float64) ** 2).sum(1),
        "root_floor": np.array(root_floor(torch.from_numpy(memory))),
        "whitening": matrix,
        "whitening_bias": -(learned["whitening/mean"] @ matrix),
        "patch_scale": learned["scale/patch"],
    }
    if config.statistics_blocks:
        statistics = learned["statistics/matrix"]
        tensors |= {
            "statistics": statistics,
            "statistics_bias": -(learned["statistics/mean"] @ statistics),
            "local_scale": learned["scale/local"],
            "global_scale": learned["scale/global"],
        }
    if "text/feature" in learned:
        feature = learned["text/feature"]
        tensors["text_feature"] = feature / np.linalg.norm(feature)
        tensors["text_scale"] = learned["scale/text"]
    tensors |= {
        f"prompt_{name.removeprefix('prompt/')}": value
        for name, value in learned.items()
        if name.startswith("prompt/")
    }
    return {
        name: np.ascontiguousarray(value, dtype=np.float32)
        for name, value in sorted(tensors.items())
    }


def _padded(centres: np.ndarray, count: int) -> np.ndarray:
    """Repeat the first centre up to ``count``: the minimum stays, and all tasks share a shape."""
    missing = max(count - len(centres), 0)
    return np.concatenate([centres, np.repeat(centres[:1], missing, axis=0)])


class Head(nn.Module):
    """hidden and task tensors -> score (batch,) and anomaly_map (batch, height, width)."""

    def __init__(
        self,
        backbone: Backbone,
        config: Config,
        entry: int,
        precision: Precision,
        names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.backbone, self.config, self.entry = backbone, config, entry
        self.precision, self.names = precision, names

    def forward(self, hidden: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        """Run the rest of the trunk and compare with the memory."""
        tensors = dict(zip(self.names, values, strict=True))
        prompts = {
            int(name.removeprefix("prompt_")): tensor
            for name, tensor in tensors.items()
            if name.startswith("prompt_")
        }
        states = {self.entry: hidden}
        inner = hidden.half() if self.precision == "fp16" else hidden
        for index in range(self.entry + 1, self.config.last_block + 1):
            inner = self.backbone.block(index, inner, prompts.get(index))
            states[index] = inner.float()
        return self.judge(states, tensors)

    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Turn hidden states into score and map."""
        config = self.config
        features = patch_features(self.backbone, states, config)
        patches = self._visual(as_patches(features), tensors)
        if "text_feature" in tensors:
            from cad_edge_training.methods.cmpmb.text import text_map

            text = text_map(self.backbone, states, tensors["text_feature"], config).flatten(1)
            weight = config.visual_weight
            patches = weight * patches + (1 - weight) * self._normalise(text, tensors["text_scale"])
        score = top_mean(patches, config.top_fraction)
        if (statistics := statistics_of(self.backbone, states, config)) is not None:
            whitened = statistics @ tensors["statistics"] + tensors["statistics_bias"]
            length = torch.sqrt((whitened * whitened).sum(1))
            score = _scaled(score, tensors["local_scale"]) + _scaled(
                length, tensors["global_scale"]
            )
        grid = (int(features.shape[2]), int(features.shape[3]))
        return score, self._map(patches.reshape(-1, *grid), grid)

    def _visual(self, patches: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        whitened = patches @ tensors["whitening"] + tensors["whitening_bias"]
        products = whitened @ tensors["memory"] + tensors["memory_norm"]
        squares = (whitened * whitened).sum(2) + products.amin(2)
        return self._normalise(
            torch.sqrt(squares.clamp_min(0) + tensors["root_floor"]), tensors["patch_scale"]
        )

    def _normalise(self, values: Tensor, scale: Tensor) -> Tensor:
        scaled = _scaled(values, scale)
        return torch.sigmoid(scaled) if self.config.normalisation == "sigmoid" else scaled

    def _map(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        recipe, deviation = self.backbone.recipe, self.config.smoothing
        rows = torch.from_numpy(map_matrix(recipe.height, grid[0], deviation))
        columns = torch.from_numpy(map_matrix(recipe.width, grid[1], deviation))
        return torch.matmul(torch.matmul(rows, patches), columns.T)


def _scaled(values: Tensor, shift_gain: Tensor) -> Tensor:
    return (values - shift_gain[0]) * shift_gain[1]


class SelfContained(nn.Module):
    """image -> score, anomaly_map with the task's tensors as constants."""

    def __init__(
        self, backbone: Backbone, config: Config, tensors: Tensors, precision: Precision
    ) -> None:
        super().__init__()
        learned = {name: torch.from_numpy(value) for name, value in tensors.items()}
        prompts = read_prompts({name.replace("_", "/"): value for name, value in learned.items()})
        network = in_precision(folded(backbone, prompts), precision)
        # Prompts that cannot be folded away stay as constants of their blocks.
        gone = {f"prompt_{index}" for index in prompts if folds_prompt(backbone, index)}
        kept = {name: value for name, value in learned.items() if name not in gone}
        self.head = Head(network, config, -1, precision, tuple(kept))
        for name, value in kept.items():
            self.register_buffer(f"constant_{name}", value)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run one frame from pixels to score and map."""
        hidden = enter(self.head.backbone, image, self.head.precision)
        values = [getattr(self, f"constant_{name}") for name in self.head.names]
        score, anomaly_map = self.head(hidden.float(), *values)
        return score, anomaly_map
