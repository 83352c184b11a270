"""Fusion of methods that score the backbone's features by a task's tensors, in both layouts.

Such a method gives a `ScoringHead`, from hidden states to score and map, and a `ScoringFusion` that
makes graphs of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.schema import Record
from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import Array, FusedTask, GraphInput, ModulePrecision, StageModule
from cad_edge_export.trunk import enter, entry_stage, folded, image_input, in_precision
from cad_edge_training.backbones import Backbone
from cad_edge_training.gaussian import map_matrix

IMAGE = "image"
"""Name of the frame, (batch, height, width, 3) uint8, among the tensors of a head that sees it."""

C = TypeVar("C", bound=Record)


class ScoringHead(nn.Module, ABC, Generic[C]):
    """hidden and task tensors -> `outputs`, float32.

    Those are score (batch,), anomaly_map (batch, height, width) and, of a head that says which
    level of evidence a score rests on, levels (batch, n) and level_maps (batch, n, h, w).

    Parameters
    ----------
    backbone
        Folded and in ``precision``.
    config
        Options of the method.
    blocks
        The one after which ``hidden`` leaves the entry, -1 for none, and the deepest one to run.
    precision
        Of the backbone; scores are computed in float32.
    names
        Of the task's tensors, in the order of the graph's inputs.
    """

    outputs: ClassVar[tuple[str, ...]] = ("score", "anomaly_map")
    """What `judge` gives, in order, by the names that engines have for it."""

    def __init__(
        self,
        backbone: Backbone,
        config: C,
        blocks: tuple[int, int],
        precision: ModulePrecision,
        names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.backbone, self.config, self.blocks = backbone, config, blocks
        self.precision, self.names = precision, names

    @abstractmethod
    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, ...]:
        """Return `outputs` from hidden states, float32 by block."""

    @abstractmethod
    def means(self, states: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Mean features (channels,) of hidden states by name, which rounding moves."""

    def prompt(self, index: int, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Prompt of a block, for methods that have prompts."""
        return None

    def forward(self, hidden: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """Run the rest of the backbone and score."""
        tensors = dict(zip(self.names, values, strict=True))
        return self.judge(self.states(hidden, tensors), tensors)

    def states(self, hidden: Tensor, tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """Run the rest of the backbone; float32 hidden states by block."""
        first, last = self.blocks
        states = {first: hidden}
        inner = hidden.half() if self.precision == "fp16" else hidden
        for index in range(first + 1, last + 1):
            inner = self.backbone.block(index, inner, self.prompt(index, tensors))
            states[index] = inner.float()
        return states

    def anomaly_map(self, patches: Tensor, smoothing: float) -> Tensor:
        """Resize and smooth patches (batch, h, w) to the frame, A M A^T."""
        recipe = self.backbone.recipe
        rows = torch.from_numpy(map_matrix(recipe.height, patches.shape[1], smoothing))
        columns = torch.from_numpy(map_matrix(recipe.width, patches.shape[2], smoothing).T.copy())
        return rows @ patches @ columns


class SelfContained(nn.Module):
    """image -> outputs of the head, with the task's tensors as constants."""

    def __init__(self, head: ScoringHead[Any], tensors: Tensors) -> None:
        super().__init__()
        self.head = head
        for name, value in tensors.items():
            self.register_buffer(_constant(name), torch.from_numpy(value))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run one frame from pixels to score, map and what else the head gives."""
        hidden = enter(self.head.backbone, image, self.head.precision)
        values = [
            image if name == IMAGE else self.get_buffer(_constant(name)) for name in self.head.names
        ]
        return tuple(self.head(hidden.float(), *values))


def _constant(name: str) -> str:
    """Name of a buffer, which can have no dot."""
    return f"constant_{name.replace('.', '_')}"


class ScoringFusion(ABC, Generic[C]):
    """A `Fusion`, also in eight bits, of a method whose fast form is a `ScoringHead`."""

    config: type[C]
    """Options of the method."""
    head: type[ScoringHead[C]]
    """Made for every engine."""

    def __init_subclass__(cls) -> None:
        """Raise TypeError where the head lacks a function."""
        super().__init_subclass__()
        if lacking := sorted(cls.head.__abstractmethods__):
            raise TypeError(f"{cls.head.__name__} has no {', '.join(lacking)}")

    @abstractmethod
    def blocks(self, config: C) -> tuple[int, ...]:
        """Blocks whose features are scored, ascending."""

    def tensors(self, learned: Tensors, backbone: Backbone, config: C) -> Tensors:
        """Tensors as the head takes them, float32: those of the artifact, if not overridden."""
        return {name: np.array(value, order="C") for name, value in sorted(learned.items())}

    def stored(self, tensors: Tensors, precision: ModulePrecision) -> Tensors:
        """Give tensors the number format that an engine of ``precision`` keeps them in."""
        return tensors

    def entry_block(self, backbone: Backbone, config: C) -> int:
        """Last block of the entry: as far as routing goes, but not past one that is scored."""
        return min(max(backbone.routing_blocks), min(self.blocks(config)))

    def further_inputs(
        self, backbone: Backbone, entry_outputs: Mapping[str, Tensor], config: C
    ) -> tuple[GraphInput, ...]:
        """Take more than ``hidden`` of what the entry gives; nothing, if not overridden.

        The head finds them among its tensors, but in the fused layout, where it runs the entry.
        """
        return ()

    def sees_frame(self, tensors: Tensors) -> bool:
        """Whether the head wants the frame itself among its ``tensors``, as `IMAGE`."""
        return False

    def follow(self, tensors: Tensors, moved: Tensors) -> Tensors:
        """Tensors that change where rounding has ``moved`` the means of `ScoringHead.means`.

        By default those of the same names, which are taken off the features.
        """
        return {name: tensors[name] + shift for name, shift in moved.items()}

    def baked(self, backbone: Backbone, tensors: Tensors) -> tuple[Backbone, Tensors]:
        """Return the folded backbone of one task, and the tensors that are not in it yet."""
        return folded(backbone), tensors

    def entry(self, backbone: Backbone, config: C, precision: ModulePrecision) -> StageModule:
        """First stage of every engine and of the selector."""
        return entry_stage(backbone, self.entry_block(backbone, config), precision)

    def shared(
        self, task: LearnedTask, backbone: Backbone, precision: ModulePrecision
    ) -> FusedTask:
        """Entry and head of the method, with everything of the task as tensors."""
        config = self.config.model_validate(task.artifact.hyperparameters)
        tensors = self.stored(self.tensors(task.tensors, backbone, config), precision)
        first = self.entry(backbone, config, precision)
        with torch.inference_mode():
            given = first.module(first.inputs[0].example)
        entered = {name: one.clone() for name, one in zip(first.outputs, given, strict=True)}
        further = self.further_inputs(backbone, entered, config)
        if self.sees_frame(tensors):
            further = (*further, image_input(backbone))
        blocks = self.entry_block(backbone, config), self.blocks(config)[-1]
        network = in_precision(folded(backbone), precision)
        names = (*(one.name for one in further), *tensors)
        head = self.head(network, config, blocks, precision, names)
        inputs = (
            GraphInput("hidden", "0/hidden", entered["hidden"], (0,)),
            *further,
            *(
                GraphInput(name, f"tensor/{name}", torch.from_numpy(value))
                for name, value in tensors.items()
            ),
        )
        shapes = {name: value.shape for name, value in tensors.items()}
        made = f"{task.artifact.method} {config} {shapes} {precision}"
        key = f"head {backbone.identity.sha256} {backbone.recipe} {made}"
        if head.outputs != ScoringHead.outputs:  # else a bundle's graphs would not be known again
            key += f" {head.outputs}"
        return FusedTask((first, StageModule(head, inputs, head.outputs, key)), tensors)

    def fused(self, task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
        """One graph from the image on, with the task's tensors inside."""
        config = self.config.model_validate(task.artifact.hyperparameters)
        learned = self.stored(self.tensors(task.tensors, backbone, config), precision)
        network, tensors = self.baked(backbone, learned)
        network, last = in_precision(network, precision), self.blocks(config)[-1]
        seen = (IMAGE,) if self.sees_frame(tensors) else ()
        head = self.head(network, config, (-1, last), precision, (*seen, *tensors))
        module = SelfContained(head, tensors)
        return FusedTask((StageModule(module, (image_input(backbone),), head.outputs),))

    def bias_corrected(
        self, fused: FusedTask, float_hidden: Array, quantised_hidden: Array
    ) -> Tensors:
        """Tensors of a shared engine whose entry was quantised.

        Parameters
        ----------
        float_hidden, quantised_hidden
            Hidden states (n, channels, h, w) of the same good parts before and after.
        """
        head = fused.stages[-1].module
        if not isinstance(head, ScoringHead):
            return fused.tensors
        values = {name: torch.from_numpy(value) for name, value in fused.tensors.items()}
        with torch.inference_mode():
            before, after = (
                head.means(head.states(torch.from_numpy(hidden), values))
                for hidden in (float_hidden, quantised_hidden)
            )
        moved = {name: (after[name] - before[name]).numpy() for name in before}
        return {**fused.tensors, **self.follow(fused.tensors, moved)}
