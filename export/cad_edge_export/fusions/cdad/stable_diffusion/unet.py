"""Stable Diffusion's U-Net for a graph: neither time nor text is computed (METHODS 4.4).

Exact rewrites: what time adds is a bias of the first convolution of a block, keys and values of the
text are constants, and there is no guidance, whose two answers are the same. Weights are shared
with the network that is rewritten.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_export.fusions.cdad.stable_diffusion.transformer import FastTransformer
from cad_edge_training.group_norm import PortableGroupNorm, nearest_upsampled
from cad_edge_training.methods.cdad.schedule import SamplingPlan
from cad_edge_training.methods.cdad.stable_diffusion.unet import TextUNet


class Unbiased(nn.Module):
    """A convolution of 3 x 3 whose bias comes from outside."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = conv.weight

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, width, h, w), with a bias (1, width, 1, 1)."""
        return functional.conv2d(x, self.weight, padding=1) + bias


class FastBlock(nn.Module):
    """Diffusers' ``ResnetBlock2D`` whose time is in the bias of its first convolution."""

    def __init__(self, block: Any) -> None:  # noqa: ANN401 - diffusers is untyped
        super().__init__()
        self.norm_in, self.norm_out = PortableGroupNorm(block.norm1), PortableGroupNorm(block.norm2)
        self.conv_in, self.conv_out = Unbiased(block.conv1), block.conv2
        self.shortcut = nn.Identity() if block.conv_shortcut is None else block.conv_shortcut

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, width, h, w), with a bias (1, width, 1, 1)."""
        hidden = self.conv_in(functional.silu(self.norm_in(x)), bias)
        out: Tensor = self.conv_out(functional.silu(self.norm_out(hidden))) + self.shortcut(x)
        return out


class FastLevel(nn.Module):
    """Blocks of one grid, each with the transformer that follows it, if there are any."""

    def __init__(self, level: Any, text: Tensor) -> None:  # noqa: ANN401 - diffusers is untyped
        super().__init__()
        self.blocks = nn.ModuleList(FastBlock(one) for one in level.resnets)
        attentions = getattr(level, "attentions", ())
        self.attentions = nn.ModuleList(FastTransformer(one, text) for one in attentions)

    def step(self, number: int, x: Tensor, bias: Tensor) -> Tensor:
        """Run block ``number`` and its transformer."""
        x = self.blocks[number](x, bias)
        if len(self.attentions) > number:
            x = self.attentions[number](x)
        return x


class FastTextUNet(nn.Module):
    """`TextUNet` without its time network and text."""

    def __init__(self, unet: TextUNet) -> None:
        super().__init__()
        model, text = unet.model, unet.text
        self.conv_in, self.conv_out = model.conv_in, model.conv_out
        self.norm_out = PortableGroupNorm(model.conv_norm_out)
        self.down = nn.ModuleList(FastLevel(one, text) for one in model.down_blocks)
        self.halve = nn.ModuleList(
            one.downsamplers[0].conv for one in model.down_blocks if one.downsamplers
        )
        self.middle = FastLevel(model.mid_block, text)
        self.up = nn.ModuleList(FastLevel(one, text) for one in model.up_blocks)
        self.enlarge = nn.ModuleList(
            one.upsamplers[0].conv for one in model.up_blocks if one.upsamplers
        )

    def forward(self, x: Tensor, biases: Sequence[Tensor], added: Tensor) -> Tensor:
        """Predict, as `TextUNet.forward`; biases are (1, width, 1, 1), one for each block."""
        left = iter(biases)
        x = self.conv_in(x) + added
        skips = [x]
        for place, level in enumerate(_levels(self.down)):
            for number in range(len(level.blocks)):
                x = level.step(number, x, next(left))
                skips.append(x)
            if place < len(self.halve):
                x = self.halve[place](x)
                skips.append(x)
        # The middle has a transformer between its two blocks, and none after the second.
        x = self.middle.step(1, self.middle.step(0, x, next(left)), next(left))
        for place, level in enumerate(_levels(self.up)):
            for number in range(len(level.blocks)):
                x = level.step(number, torch.cat((x, skips.pop()), dim=1), next(left))
            if place < len(self.enlarge):
                x = self.enlarge[place](nearest_upsampled(x))
        out: Tensor = self.conv_out(functional.silu(self.norm_out(x)))
        return out


def _levels(modules: nn.ModuleList) -> list[FastLevel]:
    return [one for one in modules if isinstance(one, FastLevel)]


def timed_blocks(unet: TextUNet) -> list[Any]:
    """Blocks that time adds to, in the order of their calls, which is that of their biases."""
    model = unet.model
    levels = (*model.down_blocks, model.mid_block, *model.up_blocks)
    return [block for level in levels for block in level.resnets]


def text_step_biases(unet: TextUNet, plan: SamplingPlan) -> list[list[Tensor]]:
    """Biases (1, width, 1, 1) of every block, of every step: all that a network knows of time."""
    tables = []
    with torch.no_grad():
        for step in plan.steps:
            (time,) = unet.time_biases(torch.tensor([step.time]))
            active = functional.silu(time)
            each = [one.time_emb_proj(active) + one.conv1.bias for one in timed_blocks(unet)]
            tables.append([bias.reshape(1, -1, 1, 1) for bias in each])
    return tables
