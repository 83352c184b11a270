"""CMPMB as the paper writes it: one frame through trunk, prompts and memory to score and map.

Score and map of one image (arXiv 2603.21562, Sec. 3; decisions in METHODS section 2):

    F    = patch features of the prompted trunk                     Eq. 10, Algorithm 1
    D_p  = min_k | W (F_p - m) - c_k |                              nearest-neighbour distance
    S_V  = N(D)    sigmoid of slope k at b (ANM), or (D - mean) / deviation
    S_T  = N(1 - cos(project(F_p), F_T))                            text branch, where there is one
    M    = alpha S_V + (1 - alpha) S_T                              DFS
    map  = Gaussian of M resized to the frame
    local = mean of the top patches of M (the maximum if top_fraction is 0)
    score = local, or (local - mean) / deviation + (g - mean) / deviation with
            g = | whitened channel statistics of the frame |        beyond the paper
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_training.backbones.backbone import Backbone, channel_statistics
from cad_edge_training.gaussian import smooth
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.memory import Whitening, nearest_distance, root_floor
from cad_edge_training.methods.cmpmb.text import text_map


@dataclass(frozen=True)
class Scale:
    """The affine map (value - shift) * gain, from held-out normals."""

    shift: float
    gain: float

    @staticmethod
    def of(tensors: Mapping[str, Tensor], part: str) -> "Scale":
        """Read ``scale/<part>`` (2,); the scale that changes nothing if there is none."""
        found = tensors.get(f"scale/{part}")
        return Scale(0.0, 1.0) if found is None else Scale(float(found[0]), float(found[1]))

    def apply(self, values: Tensor) -> Tensor:
        """Scale values of any shape."""
        return (values - self.shift) * self.gain


@dataclass(frozen=True)
class Memory:
    """What normal patches look like."""

    whitening: Whitening
    centres: Tensor
    """(n_centres, channels) float32, whitened."""

    def distance(self, features: Tensor) -> Tensor:
        """Distance (batch, n_patches) of features (batch, n_patches, channels)."""
        floor = root_floor(self.centres)
        return nearest_distance(self.whitening.apply(features), self.centres, floor)


@dataclass(frozen=True)
class Evidence:
    """What one frame shows before anything is scaled."""

    distance: Tensor
    """(batch, grid height, grid width) nearest-neighbour distance."""
    statistics: Tensor | None
    """(batch, n_statistics) channel statistics, if the configuration uses them."""
    text: Tensor | None
    """(batch, grid height, grid width) 1 - cosine to the text feature, if there is one."""


def patch_features(backbone: Backbone, states: Mapping[int, Tensor], config: Config) -> Tensor:
    """Concatenated, pooled features of the configured blocks at the grid of the deepest.

    Returns
    -------
    Tensor
        (batch, channels, grid height, grid width) float32.
    """
    maps = [backbone.feature_map(states[block]) for block in config.blocks]
    grid = maps[-1].shape[-2:]
    resized = [to_grid(features, grid[0], grid[1]) for features in maps]
    return pool(torch.cat(resized, dim=1), config.pooling)


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
        self.memory = Memory(
            Whitening(tensors["whitening/mean"], tensors["whitening/matrix"]), tensors["memory"]
        )
        self.prompts = read_prompts(tensors)
        self.patch_scale = Scale.of(tensors, "patch")
        self.local_scale = Scale.of(tensors, "local")
        self.global_scale = Scale.of(tensors, "global")
        self.text_scale = Scale.of(tensors, "text")
        self.text_feature = tensors.get("text/feature")
        self.statistics = (
            Whitening(tensors["statistics/mean"], tensors["statistics/matrix"])
            if config.statistics_blocks
            else None
        )

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
        fused = self.fused_map(evidence)
        score = self.local_scale.apply(top_mean(fused.flatten(1), self.config.top_fraction))
        if self.statistics is not None and evidence.statistics is not None:
            distance = self.statistics.apply(evidence.statistics).norm(dim=1)
            score = score + self.global_scale.apply(distance)
        size = (image.shape[1], image.shape[2])
        return score, smooth(fused, size, self.config.smoothing)

    def evidence(self, image: Tensor) -> Evidence:
        """Run the trunk and measure the distance of everything to what is normal."""
        backbone, config = self.backbone, self.config
        states = backbone.run(backbone.normalise(image), config.last_block, self.prompts)
        features = patch_features(backbone, states, config)
        grid = features.shape[-2:]
        distance = self.memory.distance(as_patches(features)).reshape(-1, grid[0], grid[1])
        return Evidence(distance, statistics_of(backbone, states, config), self._text(states))

    def fused_map(self, evidence: Evidence) -> Tensor:
        """ANM and DFS: the patch map M (batch, grid height, grid width)."""
        visual = normalise(evidence.distance, self.patch_scale, self.config)
        if evidence.text is None:
            return visual
        return fuse_maps(
            visual, normalise(evidence.text, self.text_scale, self.config), self.config
        )

    def _text(self, states: Mapping[int, Tensor]) -> Tensor | None:
        if self.text_feature is None:
            return None
        return text_map(self.backbone, states, self.text_feature, self.config)


def normalise(values: Tensor, scale: Scale, config: Config) -> Tensor:
    """N of the module's head: ANM's sigmoid, whose gain is the slope, or the affine map alone."""
    scaled = scale.apply(values)
    return torch.sigmoid(scaled) if config.normalisation == "sigmoid" else scaled


def fuse_maps(visual: Tensor, text: Tensor, config: Config) -> Tensor:
    """DFS: alpha S_V + (1 - alpha) S_T, of one shape."""
    return config.visual_weight * visual + (1 - config.visual_weight) * text


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
