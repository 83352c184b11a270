"""The diffusion network of feature latents: a small U-Net whose time is given as biases.

The paper's is Stable Diffusion's (arXiv 2112.10752) with 831 M weights and text attention. Latents
of 64 feature directions on a grid of 14 x 14 need neither; what is kept is the residual block, the
additive time and the single place where the condition enters (METHODS 4.1).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.errors import OptionError
from cad_edge_training.methods.cdad.denoiser import Denoiser

GROUPS = 8  # of every norm
PERIOD = 10_000  # longest of the time code, as in Vaswani et al. 2017
TIME_GROWTH = 4  # inner width of the time network / the first width


def time_code(time: Tensor, width: int) -> Tensor:
    """Code times as cosines and sines of falling frequency, from 1 to 1 / 10000.

    Parameters
    ----------
    time
        (n,) int64.
    width
        Even.

    Returns
    -------
    Tensor
        (n, width) float32, cosines first, as Stable Diffusion has it.
    """
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=time.device) / half
    angles = time.to(torch.float32)[:, None] * torch.exp(-math.log(PERIOD) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=1)


class TimeBiases(nn.Module):
    """Times to one bias per channel of every residual block."""

    def __init__(self, code: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.code, inner = code, TIME_GROWTH * code
        self.up, self.mix = nn.Linear(code, inner), nn.Linear(inner, inner)
        self.of_block = nn.ModuleList(nn.Linear(inner, width) for width in widths)

    def forward(self, time: Tensor) -> tuple[Tensor, ...]:
        """Map (n,) int64 to (n, channels) float32 of each block, in the order of their calls."""
        hidden = self.mix(functional.silu(self.up(time_code(time, self.code))))
        hidden = functional.silu(hidden)
        return tuple(linear(hidden) for linear in self.of_block)


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside a shortcut; the time bias enters between them."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = (nn.GroupNorm(GROUPS, one) for one in (channels, width))
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        same = channels == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, width, h, w), with a bias (n or 1, width)."""
        hidden = self.conv_in(functional.silu(self.norm_in(x))) + bias[:, :, None, None]
        out: Tensor = self.conv_out(functional.silu(self.norm_out(hidden))) + self.shortcut(x)
        return out


class UNet(Denoiser):
    """Noisy latents to the prediction; a residual block down and up at every resolution.

    Down goes a convolution of stride 2, up the nearest cell and a convolution. Grids of any size
    work: half of an odd one is rounded up, and on the way back it gets the size that it had.

    Parameters
    ----------
    channels
        Of the latents.
    widths
        Of each resolution, from the whole grid on; 64 and 96 with 64 channels make 1.22 M weights.

    Raises
    ------
    OptionError
        A width that norms cannot divide into groups of two channels or more.

    Examples
    --------
    >>> unet, z = UNet(64), torch.zeros(2, 64, 14, 14)
    >>> biases = unet.time_biases(torch.tensor([501]))
    >>> unet(z, biases, torch.zeros(2, 64, 14, 14)).shape
    torch.Size([2, 64, 14, 14])
    """

    def __init__(self, channels: int, widths: Sequence[int] = (64, 96)) -> None:
        super().__init__()
        _check(widths)
        last = widths[-1]
        # What comes up from below, of the block of each resolution from the coarsest on.
        below = (last, *widths[:0:-1])
        # The finest block sees the first convolution besides, as Stable Diffusion's does.
        skips = (*widths[:0:-1], 2 * widths[0])
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            ResidualBlock(*pair) for pair in zip((widths[0], *widths), widths, strict=False)
        )
        self.downsample = nn.ModuleList(
            nn.Conv2d(one, one, 3, stride=2, padding=1) for one in widths[:-1]
        )
        self.middle = ResidualBlock(last, last)
        self.up = nn.ModuleList(
            ResidualBlock(a + b, c) for a, b, c in zip(below, skips, widths[::-1], strict=True)
        )
        self.upsample = nn.ModuleList(nn.Conv2d(one, one, 3, padding=1) for one in widths[:0:-1])
        self.norm_out = nn.GroupNorm(GROUPS, widths[0])
        self.conv_out = nn.Conv2d(widths[0], channels, 3, padding=1)
        self.time = TimeBiases(widths[0], (*widths, last, *widths[::-1]))

    def time_biases(self, time: Tensor) -> tuple[Tensor, ...]:
        """Biases that `forward` takes; of a sampler's time points they are constants.

        Parameters
        ----------
        time
            (n,) int64.

        Returns
        -------
        tuple
            (n, channels) float32 of each block: down, middle, up.
        """
        biases: tuple[Tensor, ...] = self.time(time)
        return biases

    def forward(self, x: Tensor, biases: Sequence[Tensor], added: Tensor) -> Tensor:
        """Predict.

        Parameters
        ----------
        x
            (n, channels, h, w) float32, noisy latents.
        biases
            From `time_biases`, of n times or of one for all.
        added
            (n, widths[0], h, w), the condition. It is added to the output of the first convolution
            before that is kept as a skip, and nowhere else.

        Returns
        -------
        Tensor
            (n, channels, h, w): clean latents or noise, as the network was taught.
        """
        left = iter(biases)
        x = self.conv_in(x) + added
        first, skips = x, []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.downsample[level - 1](x), next(left))
            skips.append(x)
        x = self.middle(x, next(left))
        for level, block in enumerate(self.up):
            skip = skips.pop()
            if level:
                size = (skip.shape[2], skip.shape[3])
                larger = functional.interpolate(x, size=size, mode="nearest")
                x = self.upsample[level - 1](larger)
            joined = (x, skip) if skips else (x, skip, first)
            x = block(torch.cat(joined, dim=1), next(left))
        out: Tensor = self.conv_out(functional.silu(self.norm_out(x)))
        return out


def _check(widths: Sequence[int]) -> None:
    if not widths:
        raise OptionError("a U-Net needs a width for each resolution: give at least one")
    for width in widths:
        # The mean of a group of one channel is taken off with the channel's time bias.
        if width % GROUPS or width < 2 * GROUPS:
            raise OptionError(
                f"a U-Net width of {width} makes no {GROUPS} groups of two channels or more: "
                f"give multiples of {GROUPS} from {2 * GROUPS} on"
            )
