"""The autoencoder of Stable Diffusion (arXiv 2112.10752), written so that every engine can run it.

Layers and weights are those of diffusers' ``AutoencoderKL``; only how they are called is ours.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_training.group_norm import PortableGroupNorm, nearest_upsampled


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside a shortcut, diffusers' ``ResnetBlock2D`` without time."""

    def __init__(self, block: Any) -> None:  # noqa: ANN401 - diffusers is untyped
        super().__init__()
        self.norms = nn.ModuleList(PortableGroupNorm(one) for one in (block.norm1, block.norm2))
        self.convs = nn.ModuleList((block.conv1, block.conv2))
        self.shortcut = nn.Identity() if block.conv_shortcut is None else block.conv_shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, width, h, w)."""
        hidden = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            hidden = conv(functional.silu(norm(hidden)))
        out: Tensor = hidden + self.shortcut(x)
        return out


class CellAttention(nn.Module):
    """Attention with one head over all cells, beside a shortcut."""

    def __init__(self, attention: Any) -> None:  # noqa: ANN401 - diffusers is untyped
        super().__init__()
        self.norm = PortableGroupNorm(attention.group_norm)
        self.query, self.key, self.value = attention.to_q, attention.to_k, attention.to_v
        self.out = attention.to_out[0]

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        channels, height, width = x.shape[1:]
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (linear(tokens) for linear in (self.query, self.key, self.value))
        logits = q @ k.transpose(1, 2) * channels**-0.5
        mixed: Tensor = self.out(torch.softmax(logits, dim=-1) @ v)
        return x + mixed.transpose(1, 2).reshape(-1, channels, height, width)


class Downsample(nn.Module):
    """Convolution of stride 2 that looks one cell beyond the right and the lower edge."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, channels, h / 2, w / 2)."""
        out: Tensor = self.conv(functional.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Each cell becomes four, then a convolution."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, channels, 2 h, 2 w)."""
        out: Tensor = self.conv(nearest_upsampled(x))
        return out


class ScaledConv1x1(nn.Module):
    """Convolution with kernels of one cell whose answers or inputs are scaled, as one."""

    def __init__(self, conv: nn.Conv2d, channels: int, before: float, after: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(conv.in_channels, channels, 1)
        with torch.no_grad():
            self.conv.weight.copy_(conv.weight[:channels] * before * after)
            assert conv.bias is not None and self.conv.bias is not None
            self.conv.bias.copy_(conv.bias[:channels] * after)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, channels, h, w)."""
        out: Tensor = self.conv(x)
        return out


def encoder_blocks(vae: Any) -> tuple[nn.Module, list[nn.Module]]:  # noqa: ANN401
    """Stem and blocks from pixels to latents: those that halve the grid, and the rest as one.

    The last one answers with the posterior's mean times the scale of the latents.
    """
    encoder, channels = vae.encoder, vae.config.latent_channels
    blocks: list[nn.Module] = []
    for block in encoder.down_blocks:
        parts: list[nn.Module] = [ResidualBlock(one) for one in block.resnets]
        parts += [Downsample(one.conv) for one in block.downsamplers or ()]
        blocks.append(nn.Sequential(*parts))
    mean = ScaledConv1x1(vae.quant_conv, channels, 1.0, vae.config.scaling_factor)
    blocks.append(nn.Sequential(*_middle(encoder.mid_block), *_end(encoder), mean))
    return encoder.conv_in, blocks


def decoder(vae: Any) -> nn.Sequential:  # noqa: ANN401
    """From latents (n, c, h, w) to pixels (n, 3, 8 h, 8 w)."""
    back = vae.post_quant_conv
    unscaled = ScaledConv1x1(back, back.out_channels, 1 / vae.config.scaling_factor, 1.0)
    parts: list[nn.Module] = [unscaled, vae.decoder.conv_in, *_middle(vae.decoder.mid_block)]
    for block in vae.decoder.up_blocks:
        parts += [ResidualBlock(one) for one in block.resnets]
        parts += [Upsample(one.conv) for one in block.upsamplers or ()]
    return nn.Sequential(*parts, *_end(vae.decoder))


def _middle(block: Any) -> list[nn.Module]:  # noqa: ANN401
    first, second = (ResidualBlock(one) for one in block.resnets)
    return [first, *(CellAttention(one) for one in block.attentions), second]


def _end(part: Any) -> list[nn.Module]:  # noqa: ANN401
    return [PortableGroupNorm(part.conv_norm_out), nn.SiLU(), part.conv_out]
