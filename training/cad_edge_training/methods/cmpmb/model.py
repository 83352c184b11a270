"""CMPMB as the paper writes it: one frame through trunk, prompts and memory to score and map.

For every memory k (the published method has one; several scales go beyond the paper):

    F_p  = patch features of the prompted trunk                     Eq. 10, Algorithm 1
    D_p  = min_c | W (F_p - m) - c |                                nearest-neighbour distance
    S_V  = N(D)    sigmoid of slope k at b (ANM), or (D - mean_p) / deviation
    S_T  = N(1 - cos(project(F_p), F_T))                            text branch, where there is one
    M_k  = alpha S_V + (1 - alpha) S_T                              DFS
    t_k  = mean of the top patches of M_k (the maximum if top_fraction is 0)

The map is the mean over k of the Gaussian of M_k (of `located` M_k) resized to the frame. The image
score is t_1, or, beyond the paper, mean_k (t_k - mean) / deviation + (g - mean) / deviation, where
g is the Mahalanobis length of the frame's channel statistics. Every mean and deviation is that of
held-out normals. Decisions behind each line: METHODS of the house, section 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_training.backbones.backbone import Backbone, channel_statistics
from cad_edge_training.gaussian import smooth
from cad_edge_training.methods.cmpmb.config import Config, MemorySpec
from cad_edge_training.methods.cmpmb.memory import (
    Subspace,
    Whitening,
    nearest_distance,
    root_floor,
)
from cad_edge_training.methods.cmpmb.text import text_map


@dataclass(frozen=True)
class Scale:
    """The affine map (value - shift) * gain, from held-out normals."""

    shift: Tensor
    """() or one per patch."""
    gain: Tensor
    """()"""

    @staticmethod
    def of(tensors: Mapping[str, Tensor], part: str) -> "Scale":
        """Read ``scale/<part>/shift`` and ``.../gain``."""
        return Scale(tensors[f"scale/{part}/shift"], tensors[f"scale/{part}/gain"])

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Tensors ``scale/<part>/...``."""
        return {f"scale/{part}/shift": self.shift, f"scale/{part}/gain": self.gain}

    def apply(self, values: Tensor) -> Tensor:
        """Scale values (..., n_patches), or of any shape if the shift is one number."""
        return (values - self.shift) * self.gain


@dataclass(frozen=True)
class Memory:
    """What normal patches look like at one scale."""

    spec: MemorySpec
    whitening: Whitening
    centres: Tensor
    """(n_centres, channels) float32, whitened and pooled."""

    @staticmethod
    def of(tensors: Mapping[str, Tensor], spec: MemorySpec, index: int) -> "Memory":
        """Read memory ``index`` of a task."""
        return Memory(spec, whitening_of(tensors, spec.group), tensors[f"memory/{index}"])

    def distance(self, features: Tensor) -> Tensor:
        """Distance (batch, n_patches) of features (batch, channels, h, w) before pooling."""
        patches = as_patches(pool(whiten_map(self.whitening, features), self.spec.pooling))
        return nearest_distance(patches, self.centres, root_floor(self.centres))


@dataclass(frozen=True)
class Evidence:
    """What frames show before anything is scaled."""

    distances: tuple[Tensor, ...]
    """Per memory (batch, n_patches) nearest-neighbour distance."""
    grids: tuple[tuple[int, int], ...]
    """Per memory height and width in patches."""
    statistics: Tensor | None
    """(batch, n_statistics) channel statistics, if the configuration uses them."""
    text: Tensor | None
    """(batch, n_patches) 1 - cosine to the text feature, if there is one."""


def whitening_of(tensors: Mapping[str, Tensor], group: str) -> Whitening:
    """Read the whitening of a group of blocks."""
    return Whitening(tensors[f"whitening/{group}/mean"], tensors[f"whitening/{group}/matrix"])


def whiten_map(whitening: Whitening, features: Tensor) -> Tensor:
    """Whiten features (batch, channels, h, w) patch by patch."""
    return whitening.apply(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def patch_features(
    backbone: Backbone,
    states: Mapping[int, Tensor],
    config: Config,
    blocks: tuple[int, ...] | None = None,
) -> Tensor:
    """Concatenated features of ``blocks`` (the first memory's if None) at the deepest one's grid.

    Returns
    -------
    Tensor
        (batch, channels, grid height, grid width) float32.
    """
    maps = [backbone.feature_map(states[block]) for block in blocks or config.blocks]
    grid = maps[-1].shape[-2:]
    resized = [to_grid(features, grid[0], grid[1]) for features in maps]
    return torch.cat(resized, dim=1)


def to_grid(features: Tensor, height: int, width: int) -> Tensor:
    """Average features (batch, channels, h, w) over the cells of a coarser grid."""
    if features.shape[-2:] == (height, width):
        return features
    return functional.adaptive_avg_pool2d(features, (height, width))


def pool(features: Tensor, side: int) -> Tensor:
    """Average every ``side`` x ``side`` neighbourhood; patches outside the grid do not count."""
    if side == 1:
        return features
    return functional.avg_pool2d(features, side, 1, side // 2, count_include_pad=False)


def as_patches(features: Tensor) -> Tensor:
    """(batch, channels, h, w) to (batch, h * w, channels)."""
    return features.flatten(2).transpose(1, 2)


def top_mean(values: Tensor, fraction: float) -> Tensor:
    """Mean of the highest ``fraction`` of values (batch, n), at least of one: (batch,)."""
    return values.topk(top_count(values.shape[1], fraction), dim=1).values.mean(dim=1)


def top_count(n_patches: int, fraction: float) -> int:
    """How many patches ``fraction`` of a grid is; 0 means the single highest."""
    return max(1, round(n_patches * fraction))


class CMPMB(nn.Module):
    """One learned task on its frozen backbone."""

    def __init__(self, backbone: Backbone, config: Config, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.backbone, self.config = backbone, config
        self.learned = dict(tensors)
        self.memories = [
            Memory.of(tensors, spec, index) for index, spec in enumerate(config.memories)
        ]
        self.prompts = read_prompts(tensors)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score and locate.

        Parameters
        ----------
        image
            (batch, height, width, 3) uint8 RGB at the recipe's size.

        Returns
        -------
        tuple
            score (batch,) and anomaly_map (batch, height, width), float32.
        """
        evidence = self.evidence(image)
        maps = patch_maps(evidence, self.learned, self.config)
        length = (
            None
            if evidence.statistics is None
            else Subspace.of(self.learned).length(evidence.statistics)
        )
        size = (image.shape[1], image.shape[2])
        smoothed = [
            smooth(located(patches, self.config).reshape(-1, *grid), size, self.config.smoothing)
            for patches, grid in zip(maps, evidence.grids, strict=True)
        ]
        return image_score(maps, length, self.learned, self.config), torch.stack(smoothed).mean(0)

    def evidence(self, image: Tensor) -> Evidence:
        """Run the trunk and measure the distance of everything to what is normal."""
        backbone, config = self.backbone, self.config
        states = backbone.run(backbone.normalise(image), config.last_block, self.prompts)
        features = {
            memory.spec.group: patch_features(backbone, states, config, memory.spec.blocks)
            for memory in self.memories
        }
        text = self.learned.get("text/feature")
        return Evidence(
            tuple(memory.distance(features[memory.spec.group]) for memory in self.memories),
            tuple(grid_of(features[memory.spec.group]) for memory in self.memories),
            statistics_of(backbone, states, config),
            None if text is None else text_map(backbone, states, text, config).flatten(1),
        )


def grid_of(features: Tensor) -> tuple[int, int]:
    """Height and width of features (batch, channels, h, w)."""
    return int(features.shape[2]), int(features.shape[3])


def patch_maps(
    evidence: Evidence, tensors: Mapping[str, Tensor], config: Config
) -> tuple[Tensor, ...]:
    """ANM and DFS: M_k (batch, n_patches) of every memory."""
    maps = []
    for index, distance in enumerate(evidence.distances):
        visual = normalise(distance, Scale.of(tensors, f"patch/{index}"), config)
        if evidence.text is not None:
            text = normalise(evidence.text, Scale.of(tensors, "text"), config)
            visual = config.visual_weight * visual + (1 - config.visual_weight) * text
        maps.append(visual)
    return tuple(maps)


def located(patches: Tensor, config: Config) -> Tensor:
    """Give what the map shows of M_k (batch, n_patches): its excess over the rest of the frame.

    The published map is M_k itself. Score and map are apart here because a frame can be wrong as a
    whole, which is for the score to say, while a map is to say where.
    """
    shown = functional.softplus(patches) if config.excess else patches
    return shown - config.contrast * shown.mean(dim=1, keepdim=True)


def image_score(
    maps: tuple[Tensor, ...],
    length: Tensor | None,
    tensors: Mapping[str, Tensor],
    config: Config,
) -> Tensor:
    """Image score (batch,) from patch maps (batch, n_patches) and statistics length (batch,)."""
    tops = [top_mean(patches, config.top_fraction) for patches in maps]
    if not config.adds_up:
        return tops[0]
    scaled = [Scale.of(tensors, f"local/{k}").apply(top) for k, top in enumerate(tops)]
    score = torch.stack(scaled).mean(dim=0)
    return score if length is None else score + Scale.of(tensors, "global").apply(length)


def normalise(values: Tensor, scale: Scale, config: Config) -> Tensor:
    """N of the module's head: ANM's sigmoid, whose gain is the slope, or the affine map alone."""
    scaled = scale.apply(values)
    return torch.sigmoid(scaled) if config.normalisation == "sigmoid" else scaled


def statistics_of(
    backbone: Backbone, states: Mapping[int, Tensor], config: Config
) -> Tensor | None:
    """Channel statistics (batch, n_statistics) of the configured blocks, None if there are none."""
    if not config.statistics_blocks:
        return None
    parts = [
        channel_statistics(backbone.feature_map(states[block]))
        for block in config.statistics_blocks
    ]
    return torch.cat(parts, dim=1)


def read_prompts(tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Prompts by block from tensors named ``prompt/<block>``."""
    return {
        int(name.removeprefix("prompt/")): tensor
        for name, tensor in tensors.items()
        if name.startswith("prompt/")
    }
