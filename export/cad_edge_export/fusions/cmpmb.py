"""CMPMB fused: one pass per frame, early blocks shared with routing, the task as bound tensors.

Exact rewrites (METHODS 2.3, 0.4): batch norms into convolutions, prompts of convolutional trunks
into biases (fused layout), |f - c|^2 = |f|^2 - 2 f c + |c|^2 with the last two terms constant and
the minimum taken before the root, and map = A M A^T.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import FusedTask, GraphInput, ModulePrecision, StageModule
from cad_edge_export.fusion import Fusion
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
from cad_edge_training.memory_bank import root_floor
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.model import MEMORY, read_prompts
from cad_edge_training.methods.cmpmb.text import text_map
from cad_edge_training.patch_features import as_patches, grid_of, patch_features

Array = np.ndarray[Any, np.dtype[Any]]


def shared(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
    """Entry and head of the method, with everything of the task as tensors."""
    config = Config.model_validate(task.artifact.hyperparameters)
    tensors = fold_tensors(task.tensors, config)
    first, last = entry(backbone, config, precision), entry_block(backbone, config)
    with torch.inference_mode():
        hidden = first.module(first.inputs[0].example)[1]
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
    return FusedTask((first, StageModule(head, inputs, ("score", "anomaly_map"), key)), tensors)


def fused(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
    """One self-contained graph: constants folded, prompts baked."""
    config = Config.model_validate(task.artifact.hyperparameters)
    module = SelfContained(backbone, config, fold_tensors(task.tensors, config), precision)
    return FusedTask((StageModule(module, (image_input(backbone),), ("score", "anomaly_map")),))


def bias_corrected(fused: FusedTask, exact: Array, rounded: Array) -> Tensors:
    """Tensors of a shared engine whose entry was rounded: features move back by their mean shift.

    Parameters
    ----------
    exact, rounded
        Hidden states (n, channels, h, w) of the same good parts before and after.
    """
    head = fused.stages[-1].module
    if not isinstance(head, Head):
        return fused.tensors
    values = {name: torch.from_numpy(value) for name, value in fused.tensors.items()}
    with torch.inference_mode():
        before, after = (head.mean(torch.from_numpy(states), values) for states in (exact, rounded))
    return {**fused.tensors, "shift": fused.tensors["shift"] + (before - after).numpy()}


def entry(backbone: Backbone, config: Config, precision: ModulePrecision) -> StageModule:
    """First stage of every engine and of the selector."""
    return entry_stage(backbone, entry_block(backbone, config), precision)


def last_block(backbone: Backbone, config: Config) -> int:
    """Deepest block whose features the method uses."""
    return config.last_block


def entry_block(backbone: Backbone, config: Config) -> int:
    """Last block of the entry: as far as routing goes, but not into a prompted block.

    Also not past a block whose features the head needs and could no longer see.
    """
    last = min(max(backbone.routing_blocks), min(config.blocks))
    return min(last, config.prompt_from_block - 1) if config.prompts else last


def fold_tensors(learned: Tensors, config: Config) -> Tensors:
    """Tensors of the artifact in the form that the head takes, all float32."""
    bank = learned[MEMORY]
    missing = max(config.bank_size - len(bank), 0)
    # The first patch again: the minimum stays, and all tasks share a shape.
    patches = np.concatenate([bank, np.repeat(bank[:1], missing, axis=0)])
    squares = (patches.astype(np.float64) ** 2).sum(1) + root_floor(torch.from_numpy(bank))
    tensors: Tensors = {
        "memory": -2 * patches.T,
        "memory_squares": squares,
        "shift": np.zeros(bank.shape[1]),
        "patch_centre": learned["anm/patch"],
    }
    if "text/feature" in learned:
        feature = learned["text/feature"]
        tensors["text_feature"] = feature / np.linalg.norm(feature)
        tensors["text_centre"] = learned["anm/text"]
    tensors |= {
        name.replace("/", "_"): value
        for name, value in learned.items()
        if name.startswith("prompt/")
    }
    return {
        name: np.array(value, dtype=np.float32, order="C")
        for name, value in sorted(tensors.items())
    }


class Head(nn.Module):
    """hidden and task tensors -> score (batch,) and anomaly_map (batch, height, width)."""

    def __init__(
        self,
        backbone: Backbone,
        config: Config,
        entry: int,
        precision: ModulePrecision,
        names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.backbone, self.config, self.entry = backbone, config, entry
        self.precision, self.names = precision, names

    def forward(self, hidden: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        """Run the rest of the trunk and compare with the memory bank."""
        tensors = dict(zip(self.names, values, strict=True))
        states = self.states(hidden, tensors)
        features = patch_features(self.backbone, states, self.config.blocks)
        patches = self._patches(features, states, tensors)
        return patches.amax(dim=1), self._map(patches, grid_of(features))

    def states(self, hidden: Tensor, tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """Run the rest of the trunk; float32 hidden states by block."""
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
        return states

    def mean(self, hidden: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Mean features (channels,)."""
        states = self.states(hidden, tensors)
        return patch_features(self.backbone, states, self.config.blocks).mean(dim=(0, 2, 3))

    def _patches(
        self, features: Tensor, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> Tensor:
        """M (batch, n_patches)."""
        patches = as_patches(features) + tensors["shift"]
        nearest = (patches @ tensors["memory"] + tensors["memory_squares"]).amin(2)
        # Only rounding can bring a square below its floor; the root must not see it.
        distance = torch.sqrt(((patches * patches).sum(2) + nearest).clamp_min(0))
        visual = self._anm(distance, tensors["patch_centre"])
        if "text_feature" not in tensors:
            return visual
        text = text_map(self.backbone, states, tensors["text_feature"], self.config).flatten(1)
        weight = self.config.visual_weight
        return weight * visual + (1 - weight) * self._anm(text, tensors["text_centre"])

    def _anm(self, values: Tensor, centre: Tensor) -> Tensor:
        return torch.sigmoid(self.config.slope * (values - centre))

    def _map(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Resize and smooth M (batch, n_patches) to the frame, A M A^T."""
        recipe, smoothing = self.backbone.recipe, self.config.smoothing
        rows = torch.from_numpy(map_matrix(recipe.height, grid[0], smoothing))
        columns = torch.from_numpy(map_matrix(recipe.width, grid[1], smoothing).T.copy())
        return rows @ patches.reshape(-1, *grid) @ columns


class SelfContained(nn.Module):
    """image -> score, anomaly_map with the task's tensors as constants."""

    def __init__(
        self, backbone: Backbone, config: Config, tensors: Tensors, precision: ModulePrecision
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


class CMPMBFusion:
    """CMPMB as the exporter sees it."""

    shared = staticmethod(shared)
    fused = staticmethod(fused)
    entry = staticmethod(entry)
    bias_corrected = staticmethod(bias_corrected)
    last_block = staticmethod(last_block)


FUSION: Fusion[Config] = CMPMBFusion()
