"""What the prompted trunk says of training images, and the memory bank of some of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import Images, Progress
from cad_edge_training.memory_bank import drawn, k_center
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.model import read_prompts
from cad_edge_training.methods.cmpmb.text import text_map
from cad_edge_training.patch_features import as_patches, batches, patch_features


@dataclass(frozen=True)
class Features:
    """Features of n images."""

    patches: Tensor
    """(n, channels, grid height, grid width) float32."""
    text: Tensor | None
    """(n, n_patches) float32 text distance, if there is a text feature."""

    def of(self, members: Tensor) -> "Features":
        """Features of the images ``members`` (m,) int64."""
        return Features(self.patches[members], None if self.text is None else self.text[members])


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
    patches, text = [], []
    with torch.no_grad():
        for batch in batches(images, progress):
            states = backbone.run(backbone.normalise(batch), config.last_block, prompts)
            patches.append(patch_features(backbone, states, config.blocks))
            if "text/feature" in tensors:
                text.append(text_map(backbone, states, tensors["text/feature"], config).flatten(1))
    return Features(torch.cat(patches), torch.cat(text) if text else None)


def fit_bank(features: Features, config: Config, seed: int) -> Tensor:
    """Choose the memory bank (bank_size, channels): a greedy k-centre set of all patches."""
    patches = drawn(as_patches(features.patches).flatten(0, 1), seed)
    generator = torch.Generator().manual_seed(seed)
    return patches[k_center(patches, config.bank_size, generator)].clone()
