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
from torch.nn import functional

from cad_edge.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import FusedTask, GraphInput, ModulePrecision, StageModule
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
    grid_of,
    patch_features,
    pool,
    read_prompts,
    statistics_of,
    top_count,
)
from cad_edge_training.methods.cmpmb.text import text_map

Array = np.ndarray[Any, np.dtype[Any]]

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
    """One self-contained graph: constants folded, prompts baked."""
    config = Config.model_validate(task.artifact.hyperparameters)
    tensors = fold_tensors(task.tensors, config, grids_of(backbone, config))
    module = SelfContained(backbone, config, tensors, precision)
    return FusedTask((StageModule(module, (image_input(backbone),), ("score", "anomaly_map")),))


def recentred(fused: FusedTask, exact: Array, rounded: Array) -> Tensors:
    """Tensors of a shared engine whose entry was rounded: the task's means move with the features.

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
        before, after = (
            head.means(torch.from_numpy(states), values) for states in (exact, rounded)
        )
    tensors = dict(fused.tensors)
    for name in before:
        moved = (after[name] - before[name]).numpy()
        if name == STATISTICS:
            tensors["statistics_bias"] = (
                tensors["statistics_bias"] - moved * tensors["statistics_scale"]
            )
            continue
        group = name.replace("+", "_")
        tensors[f"whitening_bias_{group}"] = (
            tensors[f"whitening_bias_{group}"] - moved @ tensors[f"whitening_{group}"]
        )
    return tensors


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
    last = min(max(backbone.routing_blocks), min(config.all_blocks))
    return min(last, config.prompt_from_block - 1) if config.prompts else last


def grids_of(backbone: Backbone, config: Config) -> tuple[tuple[int, int], ...]:
    """Height and width in patches of every memory."""
    image = torch.zeros((1, backbone.recipe.height, backbone.recipe.width, 3), dtype=torch.uint8)
    with torch.inference_mode():
        states = backbone.run(backbone.normalise(image), config.last_block, {})
    return tuple(
        grid_of(patch_features(backbone, states, config, spec.blocks)) for spec in config.memories
    )


def fold_tensors(learned: Tensors, config: Config, grids: tuple[tuple[int, int], ...]) -> Tensors:
    """Tensors of the artifact in the form that the head takes, all float32.

    Patches of all memories stand behind each other, in the order of the configuration, so that what
    is done to each of them is done once.
    """
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
    sizes = [height * width for height, width in grids]
    tensors |= _fold_patch_scales(learned, sizes) | _fold_top_scales(learned, config, sizes)
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


def _fold_patch_scales(learned: Tensors, sizes: list[int]) -> Tensors:
    """Shift and gain (n_patches of all memories,)."""
    return {
        f"patch_{side}": np.concatenate(
            [
                np.broadcast_to(learned[f"scale/patch/{index}/{side}"], size)
                for index, size in enumerate(sizes)
            ]
        )
        for side in ("shift", "gain")
    }


def _fold_top_scales(learned: Tensors, config: Config, sizes: list[int]) -> Tensors:
    """mean_k (mean(top_k) - shift_k) gain_k as weights (n_top of all memories,) and a bias ()."""
    counts = [top_count(size, config.top_fraction) for size in sizes]
    if not config.adds_up:
        return {"top_weight": np.full(counts[0], 1 / counts[0]), "top_bias": np.zeros(())}
    gains = [learned[f"scale/local/{k}/gain"].astype(np.float64) for k in range(len(sizes))]
    shifts = [learned[f"scale/local/{k}/shift"].astype(np.float64) for k in range(len(sizes))]
    weights = [
        np.full(count, gain / count / len(sizes)) for count, gain in zip(counts, gains, strict=True)
    ]
    bias = -sum(shift * gain for shift, gain in zip(shifts, gains, strict=True)) / len(sizes)
    return {"top_weight": np.concatenate(weights), "top_bias": np.asarray(bias)}


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
        precision: ModulePrecision,
        names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.backbone, self.config, self.entry = backbone, config, entry
        self.precision, self.names = precision, names

    def forward(self, hidden: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        """Run the rest of the trunk and compare with the memory."""
        tensors = dict(zip(self.names, values, strict=True))
        return self.judge(self.states(hidden, tensors), tensors)

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

    def means(self, hidden: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean features (channels,) by group of blocks; mean ``statistics`` if there are any."""
        states = self.states(hidden, tensors)
        groups = {spec.group: spec.blocks for spec in self.config.memories}
        found = {
            group: patch_features(self.backbone, states, self.config, blocks).mean(dim=(0, 2, 3))
            for group, blocks in groups.items()
        }
        statistics = statistics_of(self.backbone, states, self.config)
        return found if statistics is None else {**found, STATISTICS: statistics.mean(dim=0)}

    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Turn hidden states into score and map."""
        config, backbone = self.config, self.backbone
        features = {
            spec.group: patch_features(backbone, states, config, spec.blocks)
            for spec in config.memories
        }
        grids = [grid_of(features[spec.group]) for spec in config.memories]
        sizes = [height * width for height, width in grids]
        patches = self._patches(features, states, tensors)
        tops = [
            part.topk(top_count(part.shape[1], config.top_fraction), dim=1).values
            for part in torch.split(patches, sizes, dim=1)
        ]
        score = torch.cat(tops, dim=1) @ tensors["top_weight"] + tensors["top_bias"]
        statistics = statistics_of(backbone, states, config)
        if statistics is not None:
            score = score + self._length(statistics, tensors)
        return score, self._map(patches, grids)

    def _patches(
        self,
        features: Mapping[str, Tensor],
        states: Mapping[int, Tensor],
        tensors: Mapping[str, Tensor],
    ) -> Tensor:
        """M_k of all memories behind each other, (batch, n_patches of all memories)."""
        whitened = {group: self._whiten(value, group, tensors) for group, value in features.items()}
        squares = [
            self._squares(index, whitened[spec.group], tensors)
            for index, spec in enumerate(self.config.memories)
        ]
        # Only rounding can bring a square below its floor; the root must not see it.
        distance = torch.sqrt(torch.cat(squares, dim=1).clamp_min(0))
        visual = self._normalise(distance, "patch", tensors)
        if "text_feature" not in tensors:
            return visual
        text = text_map(self.backbone, states, tensors["text_feature"], self.config).flatten(1)
        weight = self.config.visual_weight
        return weight * visual + (1 - weight) * self._normalise(text, "text", tensors)

    def _whiten(self, features: Tensor, group: str, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return (batch, h, w, channels + 1)."""
        name = group.replace("+", "_")
        flat = features.permute(0, 2, 3, 1) @ tensors[f"whitening_{name}"]
        return flat + tensors[f"whitening_bias_{name}"]

    def _squares(self, index: int, whitened: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Squared distance (batch, n_patches) to the nearest centre of memory ``index``."""
        side = self.config.memories[index].pooling
        if side > 1:
            whitened = pool(whitened.permute(0, 3, 1, 2), side).permute(0, 2, 3, 1)
        patches = whitened.flatten(1, 2)
        products = patches @ tensors[f"memory_{index}"]
        return (patches * patches).sum(2) + products.amin(2)

    def _length(self, statistics: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Scaled Mahalanobis length (batch,) of channel statistics."""
        centred = statistics * tensors["statistics_scale"] + tensors["statistics_bias"]
        along = (centred @ tensors["statistics_directions"]) ** 2
        square = along @ tensors["statistics_precision"] + tensors["statistics_rest"] * (
            centred * centred
        ).sum(1)
        return _scaled(torch.sqrt(square.clamp_min(0)), "global", tensors)

    def _normalise(self, values: Tensor, part: str, tensors: Mapping[str, Tensor]) -> Tensor:
        scaled = _scaled(values, part, tensors)
        return torch.sigmoid(scaled) if self.config.normalisation == "sigmoid" else scaled

    def _map(self, patches: Tensor, grids: list[tuple[int, int]]) -> Tensor:
        """Mean over memories of A_k (M_k - contrast mean(M_k)) A_k^T.

        Rows of every A sum to one, so that A leaves a constant as it is: all that the contrast
        takes away is one number per frame. Memories of one grid share a product, and further grids
        join it as [A_1 M_1, A_2 M_2] [A_1, A_2]^T.
        """
        recipe, config = self.backbone.recipe, self.config
        sizes = [height * width for height, width in grids]
        shown = functional.softplus(patches) if config.excess else patches
        by_grid: dict[tuple[int, int], Tensor] = {}
        for grid, part in zip(grids, torch.split(shown, sizes, dim=1), strict=True):
            cells = part.reshape(-1, *grid)
            by_grid[grid] = by_grid[grid] + cells if grid in by_grid else cells
        if config.contrast:
            means = np.repeat([config.contrast / size for size in sizes], sizes)
            taken = shown @ torch.from_numpy(means.astype(np.float32))
            by_grid[grids[0]] = by_grid[grids[0]] - taken[:, None, None]
        share = np.float32(1 / len(sizes))
        rows = [
            torch.from_numpy(map_matrix(recipe.height, grid[0], config.smoothing) * share) @ cells
            for grid, cells in by_grid.items()
        ]
        columns = [map_matrix(recipe.width, grid[1], config.smoothing) for grid in by_grid]
        across = torch.from_numpy(np.concatenate(columns, axis=1).T.copy())
        return torch.cat(rows, dim=2) @ across


def _scaled(values: Tensor, part: str, tensors: Mapping[str, Tensor]) -> Tensor:
    return (values - tensors[f"{part}_shift"]) * tensors[f"{part}_gain"]


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
