"""What the frozen trunk says of training images, and the memory fitted to some of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import Images, Progress
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.memory import compress, fit_whitening, identity_whitening
from cad_edge_training.methods.cmpmb.model import (
    as_patches,
    patch_features,
    read_prompts,
    statistics_of,
)
from cad_edge_training.methods.cmpmb.text import text_map

BATCH = 16  # images per pass through the trunk
MAX_PATCHES = 200_000  # patches that whitening and compression see, drawn with the seed


@dataclass(frozen=True)
class Features:
    """Features of n images."""

    patches: Tensor
    """(n, n_patches, channels) float32."""
    statistics: Tensor | None
    """(n, n_statistics) float32, if the configuration uses them."""
    text: Tensor | None
    """(n, n_patches) float32 text distance, if there is a text feature."""
    grid: tuple[int, int]
    """Height and width in patches."""


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
    patches, statistics, text = [], [], []
    grid = (0, 0)
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH])
            states = backbone.run(backbone.normalise(batch), config.last_block, prompts)
            features = patch_features(backbone, states, config)
            grid = (features.shape[-2], features.shape[-1])
            patches.append(as_patches(features))
            if (values := statistics_of(backbone, states, config)) is not None:
                statistics.append(values)
            if "text/feature" in tensors:
                text.append(text_map(backbone, states, tensors["text/feature"], config).flatten(1))
            progress("features", start + len(batch), len(images))
    return Features(
        torch.cat(patches),
        torch.cat(statistics) if statistics else None,
        torch.cat(text) if text else None,
        grid,
    )


def fit(features: Features, config: Config, members: Tensor, seed: int) -> dict[str, Tensor]:
    """Whitening, memory and statistics of the images ``members`` (n,) int64."""
    patches = features.patches[members].flatten(0, 1)
    if len(patches) > MAX_PATCHES:
        generator = torch.Generator().manual_seed(seed)
        patches = patches[torch.randperm(len(patches), generator=generator)[:MAX_PATCHES]]
    whitening = (
        fit_whitening(patches, config.shrinkage)
        if config.whitening
        else identity_whitening(patches.shape[1])
    )
    tensors = {
        "whitening/mean": whitening.mean,
        "whitening/matrix": whitening.matrix,
        "memory": compress(whitening.apply(patches), config.memory, config.memory_size, seed),
    }
    if features.statistics is not None:
        tensors |= _fit_statistics(features.statistics[members], config)
    return tensors


def _fit_statistics(values: Tensor, config: Config) -> dict[str, Tensor]:
    """Whitening of channel statistics (n, n_statistics), each brought to unit deviation first.

    Means of early channels and deviations of late ones differ in scale by orders of magnitude; the
    shrinkage would flatten the small ones.
    """
    deviation = values.std(dim=0, correction=0) + 1e-6
    whitening = fit_whitening(values / deviation, config.statistics_shrinkage)
    return {
        "statistics/mean": whitening.mean * deviation,
        "statistics/matrix": whitening.matrix / deviation[:, None],
    }
