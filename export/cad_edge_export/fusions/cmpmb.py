"""CMPMB fused: one pass per frame, early blocks shared with routing, the task as bound tensors.

Exact rewrites (METHODS 2.3, 0.4): batch norms into convolutions, prompts of convolutional trunks
into biases (fused layout), |z - c|^2 = |z|^2 - 2 z c + |c|^2 with the last two terms constant and
the minimum taken before the root, shift of the whitening into a bias, and map = A M A^T.
"""

from collections.abc import Mapping
from typing import Any

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
    located,
    patch_features,
    pool,
    read_prompts,
    statistics_of,
    top_mean,
)
from cad_edge_training.methods.cmpmb.text import text_map

Array = np.ndarray[Any, np.dtype[Any]]


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
    last = min(max(backbone.routing_blocks), min(config.all_blocks))
    return min(last, config.prompt_from_block - 1) if config.prompts else last


def fold_tensors(learned: Tensors, config: Config) -> Tensors:
    """Tensors of the artifact in the form that the head takes, all float32."""
    tensors: Tensors = {}
    for group in {memory.group for memory in config.memories}:
        matrix = learned[f"whitening/{group}/matrix"]
        shift = -(learned[f"whitening/{group}/mean"] @ matrix)
        # Whitened patches end in a one, which brings the norm of every centre into the product.
        tensors[f"whitening_{group}"] = np.pad(matrix, ((0, 0), (0, 1)))
        tensors[f"whitening_bias_{group}"] = np.append(shift, 1)
    for index, spec in enumerate(config.memories):
        memory = learned[f"memory/{index}"]
        centres = _padded(memory, spec.size)
        squares = (centres.astype(np.float64) ** 2).sum(1)
        # The one is part of |z|^2 as well, from where it has to go again.
        norms = squares + root_floor(torch.from_numpy(memory)) - 1
        tensors[f"memory_{index}"] = np.concatenate([-2 * centres.T, norms[None]])
        tensors |= _scale(learned, f"patch/{index}")
        if config.adds_up:
            tensors |= _scale(learned, f"local/{index}")
    if config.statistics_blocks:
        tensors |= _fold_subspace(learned) | _scale(learned, "global")
    if "text/feature" in learned:
        feature = learned["text/feature"]
        tensors["text_feature"] = feature / np.linalg.norm(feature)
        tensors |= _scale(learned, "text")
    tensors |= {
        name.replace("/", "_"): value
        for name, value in learned.items()
        if name.startswith("prompt/")
    }
    return {
        name.replace("+", "_"): np.ascontiguousarray(value, dtype=np.float32)
        for name, value in sorted(tensors.items())
    }


def _scale(learned: Tensors, part: str) -> Tensors:
    name = part.replace("/", "_")
    return {
        f"{name}_shift": learned[f"scale/{part}/shift"],
        f"{name}_gain": learned[f"scale/{part}/gain"],
    }


def _fold_subspace(learned: Tensors) -> Tensors:
    """|.|^2 = sum_i (precision_i - rest) a_i^2 + rest |y|^2 with y = x * scale + bias."""
    scale, rest = learned["statistics/scale"], learned["statistics/rest"]
    return {
        "statistics_scale": scale,
        "statistics_bias": -learned["statistics/mean"] * scale,
        "statistics_directions": learned["statistics/directions"],
        "statistics_precision": learned["statistics/precision"] - rest,
        "statistics_rest": rest,
    }


def _padded(centres: Array, count: int) -> Array:
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
        config, backbone = self.config, self.backbone
        whitened = {
            spec.group: self._whiten(
                patch_features(backbone, states, config, spec.blocks), spec.group, tensors
            )
            for spec in config.memories
        }
        tops: list[Tensor] = []
        # The map is linear, so that memories of one grid share one product.
        maps: dict[tuple[int, int], Tensor] = {}
        for index, spec in enumerate(config.memories):
            grid = (whitened[spec.group].shape[1], whitened[spec.group].shape[2])
            patches = self._patches(index, whitened[spec.group], states, tensors)
            tops.append(top_mean(patches, config.top_fraction))
            shown = located(patches, config).reshape(-1, *grid)
            maps[grid] = maps[grid] + shown if grid in maps else shown
        score = self._score(tops, statistics_of(backbone, states, config), tensors)
        smoothed = [self._map(shown, grid) for grid, shown in maps.items()]
        return score, sum(smoothed[1:], smoothed[0])

    def _whiten(self, features: Tensor, group: str, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return (batch, h, w, channels + 1)."""
        name = group.replace("+", "_")
        flat = features.permute(0, 2, 3, 1) @ tensors[f"whitening_{name}"]
        return flat + tensors[f"whitening_bias_{name}"]

    def _patches(
        self,
        index: int,
        whitened: Tensor,
        states: Mapping[int, Tensor],
        tensors: Mapping[str, Tensor],
    ) -> Tensor:
        """M_k (batch, n_patches) of one memory."""
        config = self.config
        side = config.memories[index].pooling
        if side > 1:
            whitened = pool(whitened.permute(0, 3, 1, 2), side).permute(0, 2, 3, 1)
        patches = whitened.flatten(1, 2)
        products = patches @ tensors[f"memory_{index}"]
        squares = (patches * patches).sum(2) + products.amin(2)
        # Only rounding can bring the sum below its floor; the root must not see it.
        distance = torch.sqrt(squares.clamp_min(0))
        visual = self._normalise(distance, f"patch_{index}", tensors)
        if "text_feature" not in tensors:
            return visual
        text = text_map(self.backbone, states, tensors["text_feature"], config).flatten(1)
        weight = config.visual_weight
        return weight * visual + (1 - weight) * self._normalise(text, "text", tensors)

    def _score(
        self, tops: list[Tensor], statistics: Tensor | None, tensors: Mapping[str, Tensor]
    ) -> Tensor:
        if not self.config.adds_up:
            return tops[0]
        scaled = [_scaled(top, f"local_{k}", tensors) for k, top in enumerate(tops)]
        score = sum(scaled[1:], scaled[0]) / len(scaled)
        if statistics is None:
            return score
        centred = statistics * tensors["statistics_scale"] + tensors["statistics_bias"]
        along = (centred @ tensors["statistics_directions"]) ** 2
        square = along @ tensors["statistics_precision"] + tensors["statistics_rest"] * (
            centred * centred
        ).sum(1)
        return score + _scaled(torch.sqrt(square.clamp_min(0)), "global", tensors)

    def _normalise(self, values: Tensor, part: str, tensors: Mapping[str, Tensor]) -> Tensor:
        scaled = _scaled(values, part, tensors)
        return torch.sigmoid(scaled) if self.config.normalisation == "sigmoid" else scaled

    def _map(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        recipe, deviation = self.backbone.recipe, self.config.smoothing
        share = 1 / len(self.config.memories)
        rows = torch.from_numpy(map_matrix(recipe.height, grid[0], deviation) * np.float32(share))
        columns = torch.from_numpy(map_matrix(recipe.width, grid[1], deviation))
        return torch.matmul(torch.matmul(rows, patches), columns.T)


def _scaled(values: Tensor, part: str, tensors: Mapping[str, Tensor]) -> Tensor:
    return (values - tensors[f"{part}_shift"]) * tensors[f"{part}_gain"]


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
