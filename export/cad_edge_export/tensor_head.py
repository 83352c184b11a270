"""Fusion of a method that judges features by a task's tensors, in both layouts.

A method of this kind gives a `TensorHead` and a `TensorFusion` that makes it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import Array, FusedTask, GraphInput, ModulePrecision, StageModule
from cad_edge_export.trunk import enter, entry_stage, folded, image_input, in_precision
from cad_edge_training.backbones import Backbone
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.methods import saved_config

OUTPUTS = ("score", "anomaly_map")


class LooksAtBlocks(Protocol):
    """Options that say which blocks of the backbone are looked at."""

    @property
    def blocks(self) -> tuple[int, ...]:
        """Ascending."""
        ...

    @property
    def last_block(self) -> int:
        """Take the deepest."""
        ...


C = TypeVar("C", bound=LooksAtBlocks)


class TensorHead(nn.Module, ABC, Generic[C]):
    """hidden and task tensors -> score (batch,) and anomaly_map (batch, height, width).

    Parameters
    ----------
    backbone
        Not folded yet.
    config
        Options of the method.
    entry
        Block after which ``hidden`` leaves the entry, -1 for none.
    precision
        Of the backbone; what is judged by is float32.
    """

    names: ClassVar[tuple[str, ...]]
    """Of the task's tensors, in the order of the graph's inputs."""

    def __init__(
        self, backbone: Backbone, config: C, entry: int, precision: ModulePrecision
    ) -> None:
        super().__init__()
        self.backbone = in_precision(folded(backbone), precision)
        self.config, self.entry, self.precision = config, entry, precision

    @abstractmethod
    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Score and map of hidden states, float32 by block."""

    def forward(self, hidden: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        """Run the rest of the trunk and judge."""
        return self.judge(self.states(hidden), dict(zip(self.names, values, strict=True)))

    @abstractmethod
    def features(self, states: Mapping[int, Tensor]) -> Tensor:
        """Features (batch, channels, h, w) float32 that are judged."""

    def mean_features(self, hidden: Array) -> Array:
        """Mean features (channels,) float32 of hidden states, by which rounding is followed."""
        with torch.inference_mode():
            features = self.features(self.states(torch.from_numpy(hidden)))
        found: Array = features.mean(dim=(0, 2, 3)).numpy()
        return found

    def anomaly_map(self, patches: Tensor, smoothing: float) -> Tensor:
        """Resize and smooth patches (batch, h, w) to the frame, A M A^T."""
        recipe = self.backbone.recipe
        rows = torch.from_numpy(map_matrix(recipe.height, patches.shape[1], smoothing))
        columns = torch.from_numpy(map_matrix(recipe.width, patches.shape[2], smoothing).T.copy())
        return rows @ patches @ columns

    def states(self, hidden: Tensor) -> dict[int, Tensor]:
        """Run the rest of the trunk; float32 hidden states by block."""
        states = {self.entry: hidden}
        inner = hidden.half() if self.precision == "fp16" else hidden
        for index in range(self.entry + 1, self.config.last_block + 1):
            inner = self.backbone.block(index, inner)
            states[index] = inner.float()
        return states


class SelfContained(nn.Module):
    """image -> score, anomaly_map with the task's tensors as constants."""

    def __init__(self, head: TensorHead[Any], tensors: Tensors) -> None:
        super().__init__()
        self.head = head
        for name, value in tensors.items():
            self.register_buffer(f"constant_{name}", torch.from_numpy(value))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run one frame from pixels to score and map."""
        hidden = enter(self.head.backbone, image, self.head.precision)
        values = [self.get_buffer(f"constant_{name}") for name in self.head.names]
        score, anomaly_map = self.head(hidden.float(), *values)
        return score, anomaly_map


class TensorFusion(Generic[C]):
    """A `Fusion` whose head judges by tensors that are bound to it."""

    head: type[TensorHead[C]]
    centre: str
    """Tensor (..., channels) taken off the features; it follows what rounding does to them."""

    def tensors(self, task: LearnedTask) -> Tensors:
        """Tensors as the head takes them, float32: those of the artifact, if not overridden."""
        return {name: np.array(value, order="C") for name, value in task.tensors.items()}

    def shared(
        self, task: LearnedTask, backbone: Backbone, precision: ModulePrecision
    ) -> FusedTask:
        """Entry and head of the method, with everything of the task as tensors."""
        config, tensors = self._config(task), self.tensors(task)
        first = self.entry(backbone, config, precision)
        head = self.head(backbone, config, self._entry_block(backbone, config), precision)
        with torch.inference_mode():
            hidden = first.module(first.inputs[0].example)[1]
        bound = [
            GraphInput(name, f"tensor/{name}", torch.from_numpy(tensors[name]))
            for name in head.names
        ]
        inputs = (GraphInput("hidden", "0/hidden", hidden.clone(), (0,)), *bound)
        shapes = {name: tensors[name].shape for name in head.names}
        made = f"{task.artifact.method} {config} {shapes} {precision}"
        key = f"{made} {backbone.identity.sha256} {backbone.recipe}"
        return FusedTask((first, StageModule(head, inputs, OUTPUTS, key)), tensors)

    def fused(self, task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
        """One graph from the image on, with the task's tensors inside."""
        head = self.head(backbone, self._config(task), -1, precision)
        module = SelfContained(head, self.tensors(task))
        return FusedTask((StageModule(module, (image_input(backbone),), OUTPUTS),))

    def entry(self, backbone: Backbone, config: C, precision: ModulePrecision) -> StageModule:
        """First stage of every engine and of the selector."""
        return entry_stage(backbone, self._entry_block(backbone, config), precision)

    def bias_corrected(self, fused: FusedTask, exact: Array, rounded: Array) -> Tensors:
        """Move the centre by the mean difference of features after and before rounding."""
        head: Any = fused.stages[-1].module
        moved = head.mean_features(rounded) - head.mean_features(exact)
        return {**fused.tensors, self.centre: fused.tensors[self.centre] + moved}

    def last_block(self, backbone: Backbone, config: C) -> int:
        """Deepest block whose features the method uses."""
        return config.last_block

    def _entry_block(self, backbone: Backbone, config: C) -> int:
        """As far as routing goes, but not past a block that the head could no longer see."""
        return min(max(backbone.routing_blocks), min(config.blocks))

    def _config(self, task: LearnedTask) -> C:
        artifact = task.artifact
        config: Any = saved_config(artifact.task, artifact.method, artifact.hyperparameters)
        return cast("C", config)
