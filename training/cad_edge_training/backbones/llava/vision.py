"""The towers a LLaVA may have, block by block, up to the tokens that its projector takes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import OptionError
from cad_edge_training.backbones.clip import NAMES
from cad_edge_training.backbones.efficientnet_lite0 import EfficientNetLite0
from cad_edge_training.backbones.vision_transformer import TransformerBlock

PIXEL_MIDDLE = 127.5  # SigLIP sees x / 127.5 - 1, mean and deviation of 0.5


class VisionTower(nn.Module, ABC):
    """A frozen tower; it shares the weights of the transformers model that it was taken from."""

    recipe: ImageRecipe
    n_blocks: int
    routing_blocks: tuple[int, ...]
    token_blocks: tuple[int, ...]
    """Blocks whose hidden states `tokens` reads."""

    @abstractmethod
    def normalise(self, image: Tensor) -> Tensor:
        """Turn image (batch, height, width, 3) uint8 RGB into pixels (batch, 3, height, width)."""

    @abstractmethod
    def stem(self, pixels: Tensor) -> Tensor:
        """Turn pixels (batch, 3, height, width) float32 into the hidden state before block 0."""

    @abstractmethod
    def block(self, index: int, hidden: Tensor) -> Tensor:
        """Run block ``index`` on ``hidden``."""

    @abstractmethod
    def feature_map(self, hidden: Tensor) -> Tensor:
        """Features (batch, channels, grid height, grid width) float32 of a hidden state."""

    @abstractmethod
    def tokens(self, states: Mapping[int, Tensor]) -> Tensor:
        """Tokens (batch, n_patches, vision width) float32 of the hidden states by block."""


class Lite0Vision(VisionTower):
    """EfficientNet-Lite0 up to block 10, as `tower.Lite0VisionModel` holds it."""

    def __init__(self, trunk: EfficientNetLite0) -> None:
        super().__init__()
        self.trunk = trunk
        self.recipe = trunk.recipe
        self.n_blocks = trunk.n_blocks
        self.routing_blocks = trunk.routing_blocks
        self.token_blocks = (4, 10)

    def normalise(self, image: Tensor) -> Tensor:
        """Map uint8 RGB to (x - 127) / 128."""
        return self.trunk.normalise(image)

    def stem(self, pixels: Tensor) -> Tensor:
        """Convolve pixels to 32 channels at half the size."""
        return self.trunk.stem(pixels)

    def block(self, index: int, hidden: Tensor) -> Tensor:
        """Run one block on (batch, channels, height, width)."""
        return self.trunk.block(index, hidden)

    def feature_map(self, hidden: Tensor) -> Tensor:
        """Hidden states are feature maps already."""
        return hidden

    def tokens(self, states: Mapping[int, Tensor]) -> Tensor:
        """Tokens (batch, cells, 528) of blocks 4 and 10."""
        from cad_edge_training.backbones.llava.tower import cell_tokens

        early, late = self.token_blocks
        return cell_tokens(states[early], states[late])


class SiglipVision(VisionTower):
    """SigLIP's image tower (Zhai et al., ICCV 2023): patches only, no class token.

    The projector takes the hidden state before the tower's last layer norm, so that norm and
    whatever blocks lie behind are left out.
    """

    # The third block, for the reason that `VisionTransformer.routing_blocks` gives.
    routing_blocks = (2,)

    def __init__(self, tower: nn.Module, layer: int) -> None:
        """Take apart ``tower`` up to its hidden state number ``layer``, as transformers counts.

        Raises
        ------
        OptionError
            There is no such hidden state, or no block before it.
        """
        super().__init__()
        config: Any = tower.config
        layers = list(tower.get_submodule("encoder.layers").children())
        self.n_blocks = layer if layer >= 0 else len(layers) + 1 + layer
        if not 1 <= self.n_blocks <= len(layers):
            raise OptionError(
                f"vision_feature_layer {layer} does not name a block of a tower of {len(layers)}; "
                "get the model's config.json again"
            )
        self.patch = tower.get_submodule("embeddings.patch_embedding")
        self.position = tower.get_parameter("embeddings.position_embedding.weight")
        heads = config.num_attention_heads
        self.blocks = nn.ModuleList(
            TransformerBlock(part, NAMES, heads) for part in layers[: self.n_blocks]
        )
        self.recipe = ImageRecipe(width=config.image_size, height=config.image_size)
        self.grid = config.image_size // config.patch_size
        self.routing_blocks = (min(2, self.n_blocks - 1),)
        self.token_blocks = (self.n_blocks - 1,)

    def normalise(self, image: Tensor) -> Tensor:
        """Map uint8 RGB to [-1, 1]."""
        return image.to(torch.float32).permute(0, 3, 1, 2) / PIXEL_MIDDLE - 1.0

    def stem(self, pixels: Tensor) -> Tensor:
        """Embed patches and add their positions: (batch, patches, width)."""
        tokens: Tensor = self.patch(pixels).flatten(2).transpose(1, 2) + self.position
        return tokens

    def block(self, index: int, hidden: Tensor) -> Tensor:
        """Run one block on (batch, patches, width)."""
        out: Tensor = self.blocks[index](hidden)
        return out

    def feature_map(self, hidden: Tensor) -> Tensor:
        """Arrange tokens as (batch, width, grid, grid)."""
        return hidden.transpose(1, 2).reshape(hidden.shape[0], -1, self.grid, self.grid)

    def tokens(self, states: Mapping[int, Tensor]) -> Tensor:
        """Hidden state (batch, patches, width) after the last block that is kept."""
        return states[self.token_blocks[0]]
