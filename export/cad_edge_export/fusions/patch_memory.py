"""The patch memory fused: one pass per frame, early blocks shared with routing, a task as tensors.

Exact rewrites (METHODS 2.3, 0.4): batch norms into convolutions, |z - c|^2 = |z|^2 - 2 z c + |c|^2
with the last two terms constant and the minimum taken before the root, shift of the whitening into
a bias, the scales of the local score into one weight per memory bank, and map = A M A^T.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import FusedTask, GraphInput, ModulePrecision, StageModule
from cad_edge_export.fusion import Fusion
from cad_edge_export.trunk import enter, entry_stage, folded, image_input, in_precision
from cad_edge_training.backbones import Backbone
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.memory_bank import root_floor
from cad_edge_training.methods.patch_memory.config import Config, MemorySpec
from cad_edge_training.methods.patch_memory.model import statistics_of
from cad_edge_training.patch_features import as_patches, grid_of, patch_features

Array = np.ndarray[Any, np.dtype[Any]]
Grid = tuple[int, int]

STATISTICS = "statistics"


def shared(task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
    """Entry and head of the method, with everything of the task as tensors."""
    config = Config.model_validate(task.artifact.hyperparameters)
    tensors = fold_tensors(task.tensors, config, grids_of(backbone, config))
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
    """One self-contained graph: constants folded."""
    config = Config.model_validate(task.artifact.hyperparameters)
    tensors = fold_tensors(task.tensors, config, grids_of(backbone, config))
    module = SelfContained(backbone, config, tensors, precision)
    return FusedTask((StageModule(module, (image_input(backbone),), ("score", "anomaly_map")),))


def bias_corrected(fused: FusedTask, exact: Array, rounded: Array) -> Tensors:
    """Tensors of a shared engine whose entry was rounded: the task's means move with the features.

    Parameters
    ----------
    exact, rounded
        Hidden states (n, channels, h, w) of the same good parts before and after.
    """
    head = fused.stages[-1].module
    if not isinstance(head, Head):
        return fused.tensors
    with torch.inference_mode():
        before, after = (head.means(torch.from_numpy(states)) for states in (exact, rounded))
    tensors = dict(fused.tensors)
    for name in before:
        moved = (after[name] - before[name]).numpy()
        if name == STATISTICS:
            tensors["statistics_bias"] = (
                tensors["statistics_bias"] - moved * tensors["statistics_scale"]
            )
            continue
        tensors[f"whitening_bias_{name}"] = (
            tensors[f"whitening_bias_{name}"] - moved @ tensors[f"whitening_{name}"]
        )
    return tensors


def entry(backbone: Backbone, config: Config, precision: ModulePrecision) -> StageModule:
    """First stage of every engine and of the selector."""
    return entry_stage(backbone, entry_block(backbone, config), precision)


def last_block(backbone: Backbone, config: Config) -> int:
    """Deepest block whose features the method uses."""
    return config.last_block


def entry_block(backbone: Backbone, config: Config) -> int:
    """Last block of the entry: as far as routing goes, but not past a block the head looks at."""
    return min(max(backbone.routing_blocks), min(config.all_blocks))


def grids_of(backbone: Backbone, config: Config) -> tuple[Grid, ...]:
    """Height and width in patches of every memory bank."""
    image = torch.zeros((1, backbone.recipe.height, backbone.recipe.width, 3), dtype=torch.uint8)
    with torch.inference_mode():
        states = backbone.run(backbone.normalise(image), config.last_block)
    return tuple(grid_of(patch_features(backbone, states, spec.blocks)) for spec in config.memories)


def tensor_name(spec: MemorySpec) -> str:
    """Name of a memory bank as part of the names of a graph's inputs."""
    return spec.name.replace("+", "_")


def fold_tensors(learned: Tensors, config: Config, grids: Sequence[Grid]) -> Tensors:
    """Tensors of the artifact in the form that the head takes, all float32."""
    tensors: Tensors = {}
    for spec, (height, width) in zip(config.memories, grids, strict=True):
        name = tensor_name(spec)
        tensors |= _fold_whitening(learned, spec.name, name)
        memory = learned[f"memory/{spec.name}"]
        centres = _padded(memory, spec.size)
        squares = (centres.astype(np.float64) ** 2).sum(1)
        # The one is part of |z|^2 as well, from where it has to go again.
        norms = squares + root_floor(torch.from_numpy(memory)) - 1
        tensors[f"memory_{name}"] = np.concatenate([-2 * centres.T, norms[None]])
        shift = learned[f"scale/patch/{spec.name}/shift"]
        tensors[f"patch_shift_{name}"] = np.broadcast_to(shift, height * width)
        tensors[f"patch_gain_{name}"] = learned[f"scale/patch/{spec.name}/gain"]
    tensors |= _fold_local(learned, config)
    if config.statistics_blocks:
        tensors |= _fold_subspace(learned)
    return {
        name: np.array(value, dtype=np.float32, order="C")
        for name, value in sorted(tensors.items())
    }


def _fold_whitening(learned: Tensors, spec: str, name: str) -> Tensors:
    """Whitened patches end in a one, which brings the norm of every centre into the product."""
    matrix = learned[f"whitening/{spec}/matrix"]
    shift = -(learned[f"whitening/{spec}/mean"] @ matrix)
    return {
        f"whitening_{name}": np.pad(matrix, ((0, 0), (0, 1))),
        f"whitening_bias_{name}": np.append(shift, 1),
    }


def _fold_local(learned: Tensors, config: Config) -> Tensors:
    """N(mean_k N(t_k)) as sum_k weight_k t_k + bias."""
    names = [spec.name for spec in config.memories]
    gains, shifts = (
        np.array([learned[f"scale/highest/{name}/{side}"].item() for name in names])
        for side in ("gain", "shift")
    )
    gain, shift = (learned[f"scale/local/{side}"].item() for side in ("gain", "shift"))
    mean = float((gains * shifts).mean())
    return {
        "local_weight": gains / len(names) * gain,
        "local_bias": np.array(-(mean + shift) * gain),
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
        "global_shift": learned["scale/global/shift"],
        "global_gain": learned["scale/global/gain"],
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
        precision: ModulePrecision,
        names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.backbone, self.config, self.entry = backbone, config, entry
        self.precision, self.names = precision, names

    def forward(self, hidden: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        """Run the rest of the trunk and compare with the memory banks."""
        tensors = dict(zip(self.names, values, strict=True))
        return self.judge(self.states(hidden), tensors)

    def states(self, hidden: Tensor) -> dict[int, Tensor]:
        """Run the rest of the trunk; float32 hidden states by block."""
        states = {self.entry: hidden}
        inner = hidden.half() if self.precision == "fp16" else hidden
        for index in range(self.entry + 1, self.config.last_block + 1):
            inner = self.backbone.block(index, inner)
            states[index] = inner.float()
        return states

    def means(self, hidden: Tensor) -> dict[str, Tensor]:
        """Mean features (channels,) by memory bank; mean ``statistics`` if there are any."""
        states = self.states(hidden)
        found = {
            tensor_name(spec): patch_features(self.backbone, states, spec.blocks).mean((0, 2, 3))
            for spec in self.config.memories
        }
        statistics = statistics_of(self.backbone, states, self.config)
        return found if statistics is None else {**found, STATISTICS: statistics.mean(dim=0)}

    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Turn hidden states into score and map."""
        config = self.config
        maps, grids = [], []
        for spec in config.memories:
            features = patch_features(self.backbone, states, spec.blocks)
            maps.append(_patches(features, tensor_name(spec), tensors))
            grids.append(grid_of(features))
        highest = torch.stack([patches.amax(dim=1) for patches in maps], dim=1)
        score = highest @ tensors["local_weight"] + tensors["local_bias"]
        statistics = statistics_of(self.backbone, states, config)
        if statistics is not None:
            score = score + _global_score(statistics, tensors)
        return score, self._map(maps, grids)

    def _map(self, maps: list[Tensor], grids: list[Grid]) -> Tensor:
        """Mean over memory banks of A_k M_k A_k^T, as [A_1 M_1, A_2 M_2] [A_1, A_2]^T."""
        recipe, smoothing = self.backbone.recipe, self.config.smoothing
        share = np.float32(1 / len(maps))
        rows = [
            torch.from_numpy(map_matrix(recipe.height, grid[0], smoothing) * share)
            @ patches.reshape(-1, *grid)
            for grid, patches in zip(grids, maps, strict=True)
        ]
        columns = [map_matrix(recipe.width, grid[1], smoothing) for grid in grids]
        across = torch.from_numpy(np.concatenate(columns, axis=1).T.copy())
        return torch.cat(rows, dim=2) @ across


def _patches(features: Tensor, name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """M (batch, n_patches) of a memory bank."""
    patches = as_patches(features) @ tensors[f"whitening_{name}"]
    patches = patches + tensors[f"whitening_bias_{name}"]
    squares = (patches * patches).sum(2) + (patches @ tensors[f"memory_{name}"]).amin(2)
    # Only rounding can bring a square below its floor; the root must not see it.
    distance = torch.sqrt(squares.clamp_min(0))
    return (distance - tensors[f"patch_shift_{name}"]) * tensors[f"patch_gain_{name}"]


def _global_score(statistics: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """Scaled Mahalanobis length (batch,) of channel statistics."""
    centred = statistics * tensors["statistics_scale"] + tensors["statistics_bias"]
    along = (centred @ tensors["statistics_directions"]) ** 2
    square = along @ tensors["statistics_precision"] + tensors["statistics_rest"] * (
        centred * centred
    ).sum(1)
    length = torch.sqrt(square.clamp_min(0))
    return (length - tensors["global_shift"]) * tensors["global_gain"]


class SelfContained(nn.Module):
    """image -> score, anomaly_map with the task's tensors as constants."""

    def __init__(
        self, backbone: Backbone, config: Config, tensors: Tensors, precision: ModulePrecision
    ) -> None:
        super().__init__()
        network = in_precision(folded(backbone), precision)
        self.head = Head(network, config, -1, precision, tuple(tensors))
        for name, value in tensors.items():
            self.register_buffer(f"constant_{name}", torch.from_numpy(value))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run one frame from pixels to score and map."""
        hidden = enter(self.head.backbone, image, self.head.precision)
        values = [getattr(self, f"constant_{name}") for name in self.head.names]
        score, anomaly_map = self.head(hidden.float(), *values)
        return score, anomaly_map


class PatchMemoryFusion:
    """The patch memory as the exporter sees it."""

    shared = staticmethod(shared)
    fused = staticmethod(fused)
    entry = staticmethod(entry)
    bias_corrected = staticmethod(bias_corrected)
    last_block = staticmethod(last_block)


FUSION: Fusion[Config] = PatchMemoryFusion()
