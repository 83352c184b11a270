"""The patch memory fused: one pass per frame, early blocks shared with routing, a task as tensors.

Exact rewrites (METHODS 2.3, 0.4): batch norms into convolutions, |z - c|^2 = |z|^2 - 2 z c + |c|^2
with the last two terms constant and the minimum taken before the root, shift of the whitening into
a bias, the scales of the local score into one weight per memory bank, and map = A M A^T.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_export.fusion import Fusion
from cad_edge_export.scoring_head import ScoringFusion, ScoringHead
from cad_edge_training.backbones import Backbone
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.memory_bank import root_epsilon
from cad_edge_training.methods.patch_memory.config import Config, MemorySpec
from cad_edge_training.methods.patch_memory.model import statistics_of
from cad_edge_training.patch_features import as_patches, grid_of, patch_features

Array = np.ndarray[Any, np.dtype[Any]]
Grid = tuple[int, int]

STATISTICS = "statistics"


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
        norms = squares + root_epsilon(torch.from_numpy(memory)) - 1
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


class PatchMemoryHead(ScoringHead[Config]):
    """Distances to the memory banks, and the length of channel statistics."""

    def means(self, states: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Mean features (channels,) by memory bank; mean ``statistics`` if there are any."""
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


class PatchMemoryFusion(ScoringFusion[Config]):
    """The patch memory as the exporter sees it."""

    config, head = Config, PatchMemoryHead

    def blocks(self, config: Config) -> tuple[int, ...]:
        """Blocks whose features are scored, ascending."""
        return config.all_blocks

    def tensors(self, learned: Tensors, backbone: Backbone, config: Config) -> Tensors:
        """Whitenings, memory banks and scales, folded."""
        return fold_tensors(learned, config, grids_of(backbone, config))

    def follow(self, tensors: Tensors, moved: Tensors) -> Tensors:
        """Biases of whitenings and statistics, from which moved means are taken off again."""
        followed: Tensors = {}
        for name, shift in moved.items():
            if name == STATISTICS:
                bias, scale = tensors["statistics_bias"], tensors["statistics_scale"]
                followed["statistics_bias"] = bias - shift * scale
                continue
            bias, matrix = tensors[f"whitening_bias_{name}"], tensors[f"whitening_{name}"]
            followed[f"whitening_bias_{name}"] = bias - shift @ matrix
        return followed


FUSION: Fusion[Config] = PatchMemoryFusion()
