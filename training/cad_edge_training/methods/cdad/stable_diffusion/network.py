"""The network of the published form, and which of its weights may move."""

from typing import Any

import torch
from torch import Tensor, nn

from cad_edge_training.backbones.stable_diffusion.base import StableDiffusion
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.inputs import projected_layers
from cad_edge_training.methods.cdad.network import DiffusionNetwork
from cad_edge_training.methods.cdad.stable_diffusion.amn import ImageAMN
from cad_edge_training.methods.cdad.stable_diffusion.unet import TextUNet

TIME = ("time_embedding", "time_emb_proj")
"""Parts of the names of layers that see points in time alone."""
OF_TEXT = (".attn2.to_k", ".attn2.to_v")
"""Ends of the names of layers that see the constant text alone."""


class StableDiffusionNetwork(DiffusionNetwork):
    """AMN that sees pictures, and Stable Diffusion's U-Net.

    Norms, biases, and layers that see nothing but time or text never move.
    """

    def __init__(self, amn: ImageAMN, unet: TextUNet) -> None:
        super().__init__(amn, unet)
        moving = {id(layer.weight) for layer in self.projected().values()}
        for one in self.parameters():
            one.requires_grad_(id(one) in moving)

    def basis_of(self) -> dict[str, str]:
        """Names of bases by layer: all three of a self-attention of the U-Net see one input."""
        shared = {
            f"{name}.{one}": f"{name}.to_q"
            for name, _ in self.named_modules()
            if name.endswith(".attn1")
            for one in ("to_k", "to_v")
        }
        return super().basis_of() | shared

    def projected(self) -> dict[str, nn.Conv2d | nn.Linear]:
        """Layers whose weights learn."""
        found = projected_layers(self, frozen=TIME)
        return {name: layer for name, layer in found.items() if not name.endswith(OF_TEXT)}


def network_of(
    backbone: StableDiffusion, config: Config, model: nn.Module, text: Tensor
) -> StableDiffusionNetwork:
    """Build a network around a U-Net; AMN's weights are drawn.

    Raises
    ------
    OptionError
        A window or number of heads does not fit.
    """
    amn = ImageAMN(
        backbone.width,
        backbone.grid,
        layers=config.attention_layers,
        heads=config.heads,
        window=config.window,
    )
    return StableDiffusionNetwork(amn, TextUNet(model, text))


def empty_unet(config: dict[str, Any]) -> nn.Module:
    """Build a U-Net of diffusers whose weights take no memory yet."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        model: nn.Module = UNet2DConditionModel.from_config(config)
    return model.eval()
