"""The label branch: a stem and Mamba decoders, whose outputs condition the reconstruction (Eq. 2).

A block is X' = Att(LN(ES2D(LN(X)))) + DwConv(X). ES2D (EfficientVMamba, Pei et al. 2024) scans four
interleaved quarter grids, each once in one direction. "Att" is squeeze-and-excite as there.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_training.methods.ib_iumad.scan import read_in_turn

Reading: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""A form of `scan.read_in_turn`."""

EXPANSION = 2  # d_inner / width
REDUCTION = 4  # of squeeze-and-excite
DIRECTIONS = 4
_STEP_RANGE = (1e-3, 1e-1)  # of the discretisation at the start, as Mamba draws it


def split_quarters(grid: Tensor) -> Tensor:
    """Take a grid apart into four sequences.

    Parameters
    ----------
    grid
        (batch, height, width, channels), height and width even.

    Returns
    -------
    Tensor
        (4, batch, height * width / 4, channels): (even, even) row by row, (odd row, even column)
        column by column, (even row, odd column) row by row, (odd, odd) column by column.
    """
    batch, height, width, channels = grid.shape
    cells = grid.reshape(batch, height // 2, 2, width // 2, 2, channels)
    by_rows = cells[:, :, 0].permute(3, 0, 1, 2, 4)
    by_columns = cells[:, :, 1].permute(3, 0, 2, 1, 4)
    flat = (part.reshape(2, batch, -1, channels) for part in (by_rows, by_columns))
    rows, columns = flat
    return torch.stack((rows[0], columns[0], rows[1], columns[1]))


def merge_quarters(sequences: Tensor, height: int, width: int) -> Tensor:
    """Undo `split_quarters`; returns (batch, height, width, channels)."""
    _, batch, _, channels = sequences.shape
    half = (height // 2, width // 2)
    rows = sequences[0::2].reshape(2, batch, *half, channels).permute(1, 2, 3, 0, 4)
    columns = sequences[1::2].reshape(2, batch, *reversed(half), channels).permute(1, 3, 2, 0, 4)
    return torch.stack((rows, columns), dim=2).reshape(batch, height, width, channels)


class ES2D(nn.Module):
    """Efficient 2D scan with a gate; of odd grids a row or column of zeros is added and dropped."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.inner, self.states = inner, states
        self.read: Reading = read_in_turn
        self.rank = math.ceil(width / 16)
        self.project_in = nn.Linear(width, 2 * inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        parts = (DIRECTIONS, inner, self.rank + 2 * states)
        self.selection = nn.Parameter(torch.randn(parts) / math.sqrt(inner))
        self.step_weight = nn.Parameter(
            (2 * torch.rand(DIRECTIONS, self.rank, inner) - 1) / math.sqrt(self.rank)
        )
        low, high = (math.log(edge) for edge in _STEP_RANGE)
        step = torch.exp(low + (high - low) * torch.rand(DIRECTIONS, inner))
        # softplus of the bias is the step.
        self.step_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        decay = torch.arange(1, states + 1, dtype=torch.float32)
        self.log_decay = nn.Parameter(decay.log().repeat(DIRECTIONS, inner, 1))
        self.skip = nn.Parameter(torch.ones(DIRECTIONS, inner))
        self.norm = nn.LayerNorm(inner)
        self.project_out = nn.Linear(inner, width)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (batch, height, width, channels) to the same shape."""
        height, width = grid.shape[1:3]
        content, gate = self.project_in(grid).chunk(2, dim=-1)
        mixed = functional.silu(self.depthwise(content.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        even = (height + height % 2, width + width % 2)
        if even != (height, width):
            mixed = functional.pad(mixed, (0, 0, 0, width % 2, 0, height % 2))
        scanned = merge_quarters(self.scan(split_quarters(mixed)), *even)[:, :height, :width]
        out: Tensor = self.project_out(self.norm(scanned) * functional.silu(gate))
        return out

    def scan(self, sequences: Tensor) -> Tensor:
        """Scan each direction selectively, by its own parameters.

        Parameters
        ----------
        sequences
            (4, batch, length, d_inner).

        Returns
        -------
        Tensor
            Of the same shape.
        """
        sizes = [self.rank, self.states, self.states]
        chosen = sequences @ self.selection[:, None]
        low, enter, leave = torch.split(chosen, sizes, dim=-1)
        logits = low @ self.step_weight[:, None] + self.step_bias[:, None, None]
        read = self.read(logits, sequences, enter, leave, -torch.exp(self.log_decay))
        return read + sequences * self.skip[:, None, None]


class SqueezeExcite(nn.Module):
    """Channels weighted by what their means say."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(width, width // REDUCTION)
        self.expand = nn.Linear(width // REDUCTION, width)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (batch, height, width, channels) to the same shape."""
        weights = self.expand(functional.relu(self.reduce(grid.mean(dim=(1, 2)))))
        return grid * torch.sigmoid(weights)[:, None, None]


class MambaBlock(nn.Module):
    """One Mamba decoder, Eq. 2."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.scan = ES2D(width, states)
        self.attention = SqueezeExcite(width)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (batch, height, width, channels) to the same shape."""
        local = self.depthwise(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        scanned = self.norm_out(self.scan(self.norm_in(grid)))
        out: Tensor = self.attention(scanned) + local
        return out


class LabelBranch(nn.Module):
    """Frozen features of an input to one condition for every encoder layer.

    The stem is a linear on the tokens: what it reads can be kept of old products without keeping
    their pixels (docs/decisions/0022-label-branch.md).
    """

    def __init__(self, channels: int, width: int, blocks: int, states: int) -> None:
        super().__init__()
        self.stem = nn.Linear(channels, width)
        self.blocks = nn.ModuleList(MambaBlock(width, states) for _ in range(blocks))

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Conditions of each encoder layer.

        Parameters
        ----------
        tokens
            (batch, side * side, channels) float32.

        Returns
        -------
        list
            One (batch, side * side, width) for each block.
        """
        side = math.isqrt(tokens.shape[1])
        grid, found = self.stem(tokens).unflatten(1, (side, side)), []
        for block in self.blocks:
            grid = block(grid)
            found.append(grid.flatten(1, 2))
        return found
