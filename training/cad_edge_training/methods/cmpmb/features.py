"""What the frozen trunk says of training images, and the memories fitted to some of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import Images, Progress
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.memory import (
    Whitening,
    compress,
    fit_subspace,
    fit_whitening,
    identity_whitening,
)
from cad_edge_training.methods.cmpmb.model import (
    as_patches,
    patch_features,
    pool,
    read_prompts,
    statistics_of,
    whiten_map,
)
from cad_edge_training.methods.cmpmb.text import text_map

BATCH = 16  # images per pass through the trunk
MAX_PATCHES = 100_000  # patches that whitening and compression see, drawn with the seed


@dataclass(frozen=True)
class Features:
    """Features of n images."""

    groups: Mapping[str, Tensor]
    """By group of blocks: (n, channels, grid height, grid width) float32."""
    statistics: Tensor | None
    """(n, n_statistics) float32, if the configuration uses them."""
    text: Tensor | None
    """(n, n_patches) float32 text distance, if there is a text feature."""

    def of(self, members: Tensor) -> "Features":
        """Features of the images ``members`` (m,) int64."""
        return Features(
            {group: features[members] for group, features in self.groups.items()},
            None if self.statistics is None else self.statistics[members],
            None if self.text is None else self.text[members],
        )


def extract(
    backbone: Backbone,
    images: Images,
    config: Config,
    tensors: Mapping[str, Tensor],
    progress: Progress,
) -> Features:
    """Run every image through the prompted trunk once.

    Parameters
    ----------
    images
        (n, height, width, 3) uint8 RGB.
    tensors
        Prompts ``prompt/<block>`` and ``text/feature``, as far as there are any.
    """
    prompts = read_prompts(tensors)
    blocks = {memory.group: memory.blocks for memory in config.memories}
    groups: dict[str, list[Tensor]] = {group: [] for group in blocks}
    statistics, text = [], []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH])
            states = backbone.run(backbone.normalise(batch), config.last_block, prompts)
            for group, parts in groups.items():
                parts.append(patch_features(backbone, states, config, blocks[group]))
            if (values := statistics_of(backbone, states, config)) is not None:
                statistics.append(values)
            if "text/feature" in tensors:
                text.append(text_map(backbone, states, tensors["text/feature"], config).flatten(1))
            progress("features", start + len(batch), len(images))
    return Features(
        {group: torch.cat(parts) for group, parts in groups.items()},
        torch.cat(statistics) if statistics else None,
        torch.cat(text) if text else None,
    )


def fit(features: Features, config: Config, seed: int) -> dict[str, Tensor]:
    """Whitenings, memories and statistics of all images of ``features``."""
    tensors: dict[str, Tensor] = {}
    whitened = {}
    for group, values in features.groups.items():
        whitening = _whitening(values, config, seed)
        tensors[f"whitening/{group}/mean"] = whitening.mean
        tensors[f"whitening/{group}/matrix"] = whitening.matrix
        whitened[group] = whiten_map(whitening, values)
    for index, spec in enumerate(config.memories):
        patches = as_patches(pool(whitened[spec.group], spec.pooling)).flatten(0, 1)
        tensors[f"memory/{index}"] = compress(
            drawn(patches, seed), config.compression, spec.size, seed
        )
    if features.statistics is not None:
        tensors |= fit_subspace(
            features.statistics, config.statistics_rank, config.statistics_shrinkage
        ).tensors()
    return tensors


def _whitening(features: Tensor, config: Config, seed: int) -> Whitening:
    if not config.whitening:
        return identity_whitening(features.shape[1])
    return fit_whitening(drawn(as_patches(features).flatten(0, 1), seed), config.shrinkage)


def drawn(patches: Tensor, seed: int) -> Tensor:
    """All patches (n, channels), or MAX_PATCHES of them drawn with the seed."""
    if len(patches) <= MAX_PATCHES:
        return patches
    generator = torch.Generator().manual_seed(seed)
    return patches[torch.randperm(len(patches), generator=generator)[:MAX_PATCHES]]
