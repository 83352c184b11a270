"""What the frozen trunk says of training images, and the memory banks fitted to some of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import Images, Progress
from cad_edge_training.memory_bank import drawn, fit_whitening, k_means
from cad_edge_training.methods.patch_memory.config import Config
from cad_edge_training.methods.patch_memory.model import statistics_of
from cad_edge_training.methods.patch_memory.subspace import fit_subspace
from cad_edge_training.patch_features import as_patches, batches, patch_features


@dataclass(frozen=True)
class Features:
    """Features of n images."""

    banks: Mapping[str, Tensor]
    """By name of the memory bank: (n, channels, grid height, grid width) float32."""
    statistics: Tensor | None
    """(n, n_statistics) float32, if the configuration uses them."""

    def of(self, members: Tensor) -> "Features":
        """Features of the images ``members`` (m,) int64."""
        return Features(
            {name: features[members] for name, features in self.banks.items()},
            None if self.statistics is None else self.statistics[members],
        )


def extract(backbone: Backbone, images: Images, config: Config, progress: Progress) -> Features:
    """Run images (n, height, width, 3) uint8 RGB through the trunk once."""
    banks: dict[str, list[Tensor]] = {spec.name: [] for spec in config.memories}
    statistics = []
    with torch.no_grad():
        for batch in batches(images, progress):
            states = backbone.run(backbone.normalise(batch), config.last_block)
            for spec in config.memories:
                banks[spec.name].append(patch_features(backbone, states, spec.blocks))
            if (values := statistics_of(backbone, states, config)) is not None:
                statistics.append(values)
    return Features(
        {name: torch.cat(parts) for name, parts in banks.items()},
        torch.cat(statistics) if statistics else None,
    )


def fit(features: Features, config: Config, seed: int) -> dict[str, Tensor]:
    """Whitenings, memory banks and statistics of all images of ``features``."""
    tensors = fit_banks(features, config, seed)
    if features.statistics is None:
        return tensors
    rank, shrinkage = config.statistics_rank, config.statistics_shrinkage
    return tensors | fit_subspace(features.statistics, rank, shrinkage).tensors()


def fit_banks(features: Features, config: Config, seed: int) -> dict[str, Tensor]:
    """Whitenings and memory banks alone."""
    tensors: dict[str, Tensor] = {}
    for spec in config.memories:
        patches = drawn(as_patches(features.banks[spec.name]).flatten(0, 1), seed)
        whitening = fit_whitening(patches, config.shrinkage)
        tensors[f"whitening/{spec.name}/mean"] = whitening.mean
        tensors[f"whitening/{spec.name}/matrix"] = whitening.matrix
        tensors[f"memory/{spec.name}"] = k_means(whitening.apply(patches), spec.size, seed)
    return tensors
