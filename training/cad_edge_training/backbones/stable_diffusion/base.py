"""Stable Diffusion 1.5 and a scorer, frozen: what the published form of CDAD looks at."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import OptionError
from cad_edge.store.artifact import BackboneIdentity
from cad_edge_training.backbones.backbone import Backbone

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet, as CDAD shows images to the autoencoder, and not between -1 and 1."""
CELL = 8  # pixels of a latent's side


class StableDiffusion(Backbone):
    """Blocks are those of the autoencoder's encoder, the last one's features the latents.

    Parameters
    ----------
    stem, blocks
        Of the encoder, from `encoder_blocks`.
    decoder
        From latents to pixels.
    scorer
        From pixels to the features in which pictures are compared.
    size
        Side of images in pixels.
    identity
        Of all weights together.
    """

    routing_blocks = (0, 1)
    pixel_scale: Tensor
    pixel_offset: Tensor

    def __init__(
        self,
        stem: nn.Module,
        blocks: list[nn.Module],
        decoder: nn.Module,
        scorer: nn.Module,
        size: int,
        identity: BackboneIdentity,
    ) -> None:
        super().__init__()
        self.encoder_stem, self.encoder = stem, nn.ModuleList(blocks)
        self.decoder, self.scorer = decoder, scorer
        self.n_blocks, self.identity = len(blocks), identity
        self.recipe = ImageRecipe(width=size, height=size)
        scale, offset = pixel_scale()
        self.register_buffer("pixel_scale", scale, persistent=False)
        self.register_buffer("pixel_offset", offset, persistent=False)
        self.freeze()

    unet_config: dict[str, Any]
    """Of diffusers' ``UNet2DConditionModel``."""
    load_unet: Callable[[], nn.Module]
    """Read the U-Net's weights, which nobody needs who has learned them on."""
    load_context: Callable[[], Tensor]
    """Return what the text encoder says of the empty text, (tokens, width) float32."""

    @property
    def width(self) -> int:
        """Channels of the U-Net at the latents' grid."""
        width: int = self.unet_config["block_out_channels"][0]
        return width

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        channels: int = self.unet_config["in_channels"]
        return channels

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.recipe.height // CELL, self.recipe.width // CELL

    def normalise(self, image: Tensor) -> Tensor:
        """Map uint8 RGB to (x / 255 - mean) / deviation."""
        pixels = image.to(torch.float32).permute(0, 3, 1, 2)
        return pixels * self.pixel_scale + self.pixel_offset

    def stem(self, pixels: Tensor) -> Tensor:
        """Turn pixels (batch, 3, height, width) float32 into the hidden state before block 0."""
        out: Tensor = self.encoder_stem(pixels)
        return out

    def block(self, index: int, hidden: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Run block ``index`` of the encoder; a prompt is refused."""
        if prompt is not None:
            raise self._no_prompts()
        out: Tensor = self.encoder[index](hidden)
        return out

    def feature_map(self, hidden: Tensor) -> Tensor:
        """Features (batch, channels, grid height, grid width), which a hidden state is."""
        return hidden

    def prompt_shape(self, index: int, length: int) -> tuple[int, ...]:
        """Raise OptionError: an encoder takes no prompts."""
        raise self._no_prompts()

    def _no_prompts(self) -> OptionError:
        return OptionError(
            f"{self.identity.id} takes no prompts; give --method cdad, or another backbone"
        )


def pixel_scale() -> tuple[Tensor, Tensor]:
    """Factor and offset (1, 3, 1, 1) float32 that bring 0 to 255 to ImageNet's scale."""
    scale = 1 / (255 * torch.tensor(DEVIATION, dtype=torch.float64))
    offset = -torch.tensor(MEAN, dtype=torch.float64) * 255 * scale
    return scale.float().reshape(1, 3, 1, 1), offset.float().reshape(1, 3, 1, 1)
