"""The patch memory: one frame through the frozen trunk, memory banks and a Gaussian of the whole.

For every memory bank k, with patch features F of its blocks on one grid:

    D_p = min_c | W (F_p - m) - c |            distance to the nearest centre (PatchCore, whitened)
    M_p = (D_p - mean - border_p) / deviation  in units of held-out good parts
    t_k = max_p M_p

and for the image as a whole, from mean and deviation s of every channel,

    g = | s |  under a Gaussian                (subspace.py)

Every part is brought to mean 0 and deviation 1 on held-out good parts, N(.), and the score is the
sum of what is seen at a place and of what is seen in the whole,

    score = N( mean_k N(t_k) ) + N(g).

The map is the mean over k of M, resized to the frame and smoothed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cad_edge_training.backbones.backbone import Backbone, channel_statistics
from cad_edge_training.gaussian import smooth
from cad_edge_training.memory_bank import Whitening, nearest_distance, root_epsilon
from cad_edge_training.methods.patch_memory.config import Config, MemorySpec
from cad_edge_training.methods.patch_memory.subspace import Subspace
from cad_edge_training.patch_features import as_patches, grid_of, patch_features


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
class MemoryBank:
    """What normal patches look like at one scale."""

    spec: MemorySpec
    whitening: Whitening
    centres: Tensor
    """(n_centres, channels) float32, whitened."""

    @staticmethod
    def of(tensors: Mapping[str, Tensor], spec: MemorySpec) -> "MemoryBank":
        """Read the memory bank of a task."""
        whitening = Whitening(
            tensors[f"whitening/{spec.name}/mean"], tensors[f"whitening/{spec.name}/matrix"]
        )
        return MemoryBank(spec, whitening, tensors[f"memory/{spec.name}"])

    def distance(self, features: Tensor) -> Tensor:
        """Distance (batch, n_patches) of features (batch, channels, h, w)."""
        patches = self.whitening.apply(as_patches(features))
        return nearest_distance(patches, self.centres, root_epsilon(self.centres))


@dataclass(frozen=True)
class Evidence:
    """What frames show before anything is scaled."""

    distances: tuple[Tensor, ...]
    """Per memory bank (batch, n_patches) distance to the nearest centre."""
    grids: tuple[tuple[int, int], ...]
    """Per memory bank height and width in patches."""
    length: Tensor | None
    """(batch,) Mahalanobis length of the channel statistics, if the configuration uses them."""


class PatchMemory(nn.Module):
    """One learned task on its frozen backbone."""

    def __init__(self, backbone: Backbone, config: Config, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.backbone, self.config = backbone, config
        self.learned = dict(tensors)
        self.banks = [MemoryBank.of(tensors, spec) for spec in config.memories]

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
        size = (image.shape[1], image.shape[2])
        return (
            image_score(maps, evidence.length, self.learned, self.config),
            anomaly_map(maps, evidence.grids, size, self.config.smoothing),
        )

    def evidence(self, image: Tensor) -> Evidence:
        """Run the trunk and measure the distance of everything to what is normal."""
        backbone, config = self.backbone, self.config
        states = backbone.run(backbone.normalise(image), config.last_block)
        features = [patch_features(backbone, states, bank.spec.blocks) for bank in self.banks]
        statistics = statistics_of(backbone, states, config)
        return Evidence(
            tuple(bank.distance(values) for bank, values in zip(self.banks, features, strict=True)),
            tuple(grid_of(values) for values in features),
            None if statistics is None else Subspace.of(self.learned).length(statistics),
        )


def patch_maps(
    evidence: Evidence, tensors: Mapping[str, Tensor], config: Config
) -> tuple[Tensor, ...]:
    """M (batch, n_patches) of every memory bank."""
    return tuple(
        Scale.of(tensors, f"patch/{spec.name}").apply(distance)
        for spec, distance in zip(config.memories, evidence.distances, strict=True)
    )


def anomaly_map(
    maps: tuple[Tensor, ...],
    grids: tuple[tuple[int, int], ...],
    size: tuple[int, int],
    smoothing: float,
) -> Tensor:
    """Anomaly map (batch, height, width) of patch maps (batch, n_patches)."""
    smoothed = [
        smooth(patches.reshape(-1, *grid), size, smoothing)
        for patches, grid in zip(maps, grids, strict=True)
    ]
    return torch.stack(smoothed).mean(0)


def local_score(maps: tuple[Tensor, ...], tensors: Mapping[str, Tensor], config: Config) -> Tensor:
    """Mean over the memory banks of the scaled highest patch, (batch,)."""
    scaled = [
        Scale.of(tensors, f"highest/{spec.name}").apply(patches.amax(dim=1))
        for spec, patches in zip(config.memories, maps, strict=True)
    ]
    return torch.stack(scaled).mean(dim=0)


def image_score(
    maps: tuple[Tensor, ...],
    length: Tensor | None,
    tensors: Mapping[str, Tensor],
    config: Config,
) -> Tensor:
    """Image score (batch,) from patch maps (batch, n_patches) and statistics length (batch,)."""
    local = Scale.of(tensors, "local").apply(local_score(maps, tensors, config))
    return local if length is None else local + Scale.of(tensors, "global").apply(length)


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
