"""CDAD's network for a graph: what depends on neither frame nor step is a constant (METHODS 4).

Exact rewrites: time biases and those of the convolutions that they follow are one table per step;
queries, keys and values are one product, whose bias holds positions and the scale of attention;
norms of groups are norms of rows, and the nearest cell is a gathering, which every engine has.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_training.group_norm import PortableGroupNorm
from cad_edge_training.methods.cdad.condition import EncoderLayer, NonLocalEncoder
from cad_edge_training.methods.cdad.denoiser import Condition
from cad_edge_training.methods.cdad.schedule import SamplingPlan
from cad_edge_training.methods.cdad.unet import ResidualBlock, UNet

Grid = tuple[int, int]


class NearestUpsampling(nn.Module):
    """Enlarge a grid to another: each cell is the nearest one before, `interpolate`'s nearest."""

    rows: Tensor
    columns: Tensor

    def __init__(self, before: Grid, after: Grid) -> None:
        super().__init__()
        for name, small, large in zip(("rows", "columns"), before, after, strict=True):
            self.register_buffer(name, torch.arange(large) * small // large)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge (n, channels, h, w)."""
        return x.index_select(2, self.rows).index_select(3, self.columns)


class FastBlock(nn.Module):
    """`ResidualBlock` whose first convolution has its bias from a table of `step_biases`."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.norm_in, self.norm_out = (
            PortableGroupNorm(one) for one in (block.norm_in, block.norm_out)
        )
        self.conv_in, self.conv_out, self.shortcut = block.conv_in, block.conv_out, block.shortcut
        self.conv_in.bias = None

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, width, h, w), with a bias (1, width, 1, 1)."""
        hidden = self.conv_in(functional.silu(self.norm_in(x))) + bias
        out: Tensor = self.conv_out(functional.silu(self.norm_out(hidden))) + self.shortcut(x)
        return out


class FastUNet(nn.Module):
    """`UNet` for latents of one grid, without its time network.

    Parameters
    ----------
    unet
        Left as it is.
    grid
        Height and width of the latents.
    """

    def __init__(self, unet: UNet, grid: Grid) -> None:
        super().__init__()
        unet = copy.deepcopy(unet).eval().requires_grad_(False)
        grids = _grids(grid, len(unet.down))
        self.conv_in, self.conv_out = unet.conv_in, unet.conv_out
        self.downsample, self.upsample = unet.downsample, unet.upsample
        self.norm_out = PortableGroupNorm(unet.norm_out)
        fast = [FastBlock(block) for block in blocks_of(unet)]
        self.down, self.middle = nn.ModuleList(fast[: len(grids)]), fast[len(grids)]
        self.up = nn.ModuleList(fast[len(grids) + 1 :])
        self.enlarge = nn.ModuleList(
            NearestUpsampling(*pair) for pair in zip(grids[:0:-1], grids[-2::-1], strict=True)
        )

    def forward(self, x: Tensor, biases: Sequence[Tensor], added: Tensor) -> Tensor:
        """Predict, as `UNet.forward`; biases are (1, width, 1, 1) each."""
        left = iter(biases)
        x = self.conv_in(x) + added
        first, skips = x, []
        for level, block in enumerate(self.down):
            x = block(self.downsample[level - 1](x) if level else x, next(left))
            skips.append(x)
        x = self.middle(x, next(left))
        for level, block in enumerate(self.up):
            if level:
                x = self.upsample[level - 1](self.enlarge[level - 1](x))
            skip = skips.pop()
            joined = (x, skip) if skips else (x, skip, first)
            x = block(torch.cat(joined, dim=1), next(left))
        out: Tensor = self.conv_out(functional.silu(self.norm_out(x)))
        return out


def blocks_of(unet: UNet) -> list[ResidualBlock]:
    """Residual blocks in the order of their calls, which is that of their biases."""
    found = (*unet.down, unet.middle, *unet.up)
    return [one for one in found if isinstance(one, ResidualBlock)]


def step_biases(unet: UNet, plan: SamplingPlan) -> list[list[Tensor]]:
    """Biases (1, width, 1, 1) of every block, of every step: all that a network knows of time."""
    tables = []
    with torch.no_grad():
        for step in plan.steps:
            pairs = zip(unet.time_biases(torch.tensor([step.time])), blocks_of(unet), strict=True)
            tables.append([(b + _own_bias(one)).reshape(1, -1, 1, 1) for b, one in pairs])
    return tables


class FastEncoderLayer(nn.Module):
    """`EncoderLayer` with one product for queries, keys and values."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: EncoderLayer, position: Tensor) -> None:
        super().__init__()
        attention = layer.attention
        self.heads, self.out = attention.heads, attention.out
        self.up, self.down, self.norms = layer.up, layer.down, layer.norms
        self.width = width = attention.query.out_features
        scale = (width // self.heads) ** -0.5
        linears = (attention.query, attention.key, attention.value)
        factors = torch.tensor([scale, 1.0, 1.0]).repeat_interleave(width)
        weight = torch.cat([one.weight.T for one in linears], dim=1)
        placed = torch.cat(
            (*(position @ one.weight.T for one in linears[:2]), torch.zeros_like(position)), dim=1
        )
        bias = placed + torch.cat([one.bias for one in linears])
        self.register_buffer("weight", (weight * factors).detach())
        self.register_buffer("bias", (bias * factors).detach())

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map tokens (n, cells, width); ``mask`` (cells, cells) is added to the logits."""
        all_three = tokens @ self.weight + self.bias
        shape = (len(self.bias), 3 * self.heads, self.width // self.heads)
        by_head = all_three.reshape(-1, *shape).transpose(1, 2)
        q, k, v = by_head.chunk(3, dim=1)
        mixed = torch.softmax(q @ k.transpose(2, 3) + mask, dim=-1) @ v
        tokens = _normed(self.norms[0], tokens + self.out(mixed.transpose(1, 2).flatten(2)))
        return _normed(self.norms[1], tokens + self.down(functional.relu(self.up(tokens))))


class FastAMN(nn.Module):
    """AMN of either form, of which a graph needs the condition alone."""

    mask: Tensor

    def __init__(self, amn: Condition) -> None:
        super().__init__()
        amn = copy.deepcopy(amn).eval().requires_grad_(False)
        encoder = amn.get_submodule("non_local")
        assert isinstance(encoder, NonLocalEncoder)
        self.local, self.grid = amn.local, encoder.grid
        self.layers = nn.ModuleList(
            FastEncoderLayer(one, encoder.position)
            for one in encoder.layers
            if isinstance(one, EncoderLayer)
        )
        self.register_buffer("mask", encoder.bias.clone())

    def forward(self, z: Tensor) -> Tensor:
        """Map what is told (n, ...) to the condition (n, width, h, w)."""
        tokens: Tensor = self.local(z).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens, self.mask)
        return tokens.transpose(1, 2).reshape(-1, tokens.shape[2], *self.grid)


def halved(module: nn.Module) -> nn.Module:
    """Bring a module to half precision in place, but for the weights of its norms."""
    norms = [one for one in module.modules() if isinstance(one, PortableGroupNorm | nn.LayerNorm)]
    # Halving rounds them as well, so that they are put back as they were.
    weights = [{name: one.clone() for name, one in norm.state_dict().items()} for norm in norms]
    module.half()
    for norm, values in zip(norms, weights, strict=True):
        norm.float().load_state_dict(values)
    return module


def _normed(norm: nn.Module, tokens: Tensor) -> Tensor:
    found: Tensor = norm(tokens.float())
    return found.to(tokens.dtype)


def _own_bias(block: ResidualBlock) -> Tensor:
    bias = block.conv_in.bias
    assert bias is not None
    return bias


def _grids(grid: Grid, levels: int) -> list[Grid]:
    """Grid of each resolution: half of an odd side is rounded up."""
    found = [grid]
    for _ in range(levels - 1):
        height, width = found[-1]
        found.append(((height + 1) // 2, (width + 1) // 2))
    return found
