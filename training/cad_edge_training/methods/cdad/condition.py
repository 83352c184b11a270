"""AMN, the anomaly-masked network: what the diffusion is told of the image it reconstructs.

A condition that shows everything would show defects too. AMN's non-local encoder describes each
cell by cells that are not its neighbours (arXiv 2502.19848, section 3.3; METHODS 4.1).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.errors import ArtifactError, OptionError
from cad_edge_training.methods.cdad.denoiser import Condition

PERIOD = 10_000  # of the position code


def neighbour_mask(grid: tuple[int, int], window: int) -> Tensor:
    """Say which cells no query may look at: those of a window around it, itself included.

    Parameters
    ----------
    grid
        Height and width.
    window
        Odd side of the window; the paper has 7 on 32 x 32.

    Returns
    -------
    Tensor
        (cells, cells) bool, a row for each query, true where a key is forbidden.

    Raises
    ------
    OptionError
        An even window, or one that covers the grid: some query could look at nothing.

    Examples
    --------
    >>> mask = neighbour_mask((32, 32), 7)
    >>> mask[0].sum().item(), mask.sum().item()
    (16, 44944)
    """
    if window < 1 or window % 2 == 0:
        raise OptionError(f"a neighbour window of {window} has no centre: give an odd number")
    if window >= max(grid):
        raise OptionError(
            f"a neighbour window of {window} hides the whole grid of {grid[0]} x {grid[1]} cells: "
            "give a smaller window or larger images"
        )
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    near = [
        (axis.flatten()[:, None] - axis.flatten()).abs() <= window // 2 for axis in (rows, columns)
    ]
    return near[0] & near[1]


def position_code(grid: tuple[int, int], width: int) -> Tensor:
    """Code cells as sines and cosines of row (first half) and column (Vaswani et al. 2017).

    Returns
    -------
    Tensor
        (cells, width) float32; of each half sines and cosines take turns, from frequency 1 on.

    Raises
    ------
    OptionError
        A width that is not a multiple of 4.
    """
    if width % 4:
        raise OptionError(f"a condition width of {width} is no multiple of 4: give one that is")
    frequencies = PERIOD ** -(torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    halves = []
    for axis in torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij"):
        angles = axis.flatten()[:, None] * frequencies
        halves.append(torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1))
    return torch.cat(halves, dim=1)


class LocalEncoder(nn.Module):
    """Convolutions of 3 x 3 without bias, with SiLU between them."""

    def __init__(self, channels: int, width: int, layers: int) -> None:
        super().__init__()
        sizes = (channels, *(width for _ in range(layers)))
        self.convs = nn.ModuleList(
            nn.Conv2d(*pair, 3, padding=1, bias=False) for pair in pairwise(sizes)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, width, h, w)."""
        for number, conv in enumerate(self.convs):
            z = conv(functional.silu(z) if number else z)
        return z


class MaskedAttention(nn.Module):
    """Multi-head attention; queries and keys are told positions, values are not.

    The three inputs are projected by linears of their own, since protected directions of query and
    key inputs are not those of value inputs.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, position: Tensor, bias: Tensor) -> Tensor:
        """Attend.

        Parameters
        ----------
        tokens
            (n, cells, width).
        position
            (cells, width).
        bias
            (cells, cells), added to the logits: -inf where a key is forbidden.
        """
        placed = tokens + position
        q, k, v = (
            linear(one).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for linear, one in ((self.query, placed), (self.key, placed), (self.value, tokens))
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class EncoderLayer(nn.Module):
    """Transformer layer with its norms after the residual, ReLU in its feed-forward part."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention = MaskedAttention(width, heads)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, tokens: Tensor, position: Tensor, bias: Tensor) -> Tensor:
        """Map (n, cells, width) to the same shape; see `MaskedAttention.forward`."""
        tokens = self.norms[0](tokens + self.attention(tokens, position, bias))
        out: Tensor = self.norms[1](tokens + self.down(functional.relu(self.up(tokens))))
        return out


class NonLocalEncoder(nn.Module):
    """Transformer layers whose attention looks at no cell of the neighbourhood.

    Only attention is masked, as published: the residual beside it hands each cell on as it is, and
    in a second layer a cell hears of its neighbours through others.
    """

    position: Tensor
    bias: Tensor

    def __init__(
        self, width: int, grid: tuple[int, int], layers: int, heads: int, inner: int, window: int
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise OptionError(f"{heads} heads do not divide the condition width {width}")
        self.grid = grid
        forbidden = neighbour_mask(grid, window)
        bias = torch.zeros(forbidden.shape).masked_fill(forbidden, float("-inf"))
        # Constants of the grid, not weights: nothing to store or to protect.
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("position", position_code(grid, width), persistent=False)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, inner) for _ in range(layers))

    def forward(self, local: Tensor) -> Tensor:
        """Map (n, width, h, w) to the same shape.

        Raises
        ------
        ArtifactError
            A grid other than the one that the encoder was built for.
        """
        if tuple(local.shape[2:]) != self.grid:
            own = f"{self.grid[0]} x {self.grid[1]}"
            raise ArtifactError(
                f"the network was learned on {own} cells and gets {local.shape[2]} x "
                f"{local.shape[3]}: give images of the size that it was learned at"
            )
        tokens = local.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens, self.position, self.bias)
        return tokens.transpose(1, 2).reshape(local.shape)


class AMN(Condition):
    """Local, then non-local encoder. It is not told the time: once an image is enough.

    The paper's dropout of .1 is left out.

    Parameters
    ----------
    channels
        Of the latents.
    width
        Of the condition: the U-Net's first; the paper has 320.
    grid
        Height and width of the latents.
    local_layers, layers
        Convolutions, and transformer layers; the paper has 8 of each.
    heads, inner
        Of the attention, and width of the feed-forward part; the paper has 8 and 1025.
    window
        Side of the hidden neighbourhood.

    Raises
    ------
    OptionError
        A window, width or number of heads that does not fit.

    Examples
    --------
    >>> added, local = AMN(64, 64, (14, 14))(torch.zeros(2, 64, 14, 14))
    >>> added.shape, local.shape
    (torch.Size([2, 64, 14, 14]), torch.Size([2, 64, 14, 14]))
    """

    def __init__(
        self,
        channels: int,
        width: int,
        grid: tuple[int, int],
        *,
        local_layers: int = 2,
        layers: int = 2,
        heads: int = 4,
        inner: int = 256,
        window: int = 5,
    ) -> None:
        super().__init__()
        self.local = LocalEncoder(channels, width, local_layers)
        self.non_local = NonLocalEncoder(width, grid, layers, heads, inner, window)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latents (n, channels, h, w) to condition and local encoding, (n, width, h, w)."""
        local = self.local(z)
        return self.non_local(local), local
