"""AMN of the published form, which sees pictures (METHODS 4.1)."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from cad_edge_training.backbones.stable_diffusion.base import pixel_scale
from cad_edge_training.methods.cdad.condition import NonLocalEncoder
from cad_edge_training.methods.cdad.denoiser import Condition

WIDTHS = (16, 16, 32, 32, 96, 96, 256)
"""Of the convolutions before the last one, which is as wide as the U-Net."""
HALVED = (2, 4, 6)  # places of the convolutions that halve the grid
INNER = 1025  # of the transformer layers' feed-forward part, as published


class LocalEncoder(nn.Module):
    """Eight convolutions of 3 x 3 without bias, with SiLU between them; three halve the grid."""

    pixel_scale: Tensor
    pixel_offset: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (3, *WIDTHS, width)
        self.convs = nn.ModuleList(
            nn.Conv2d(*pair, 3, stride=2 if place in HALVED else 1, padding=1, bias=False)
            for place, pair in enumerate(pairwise(sizes))
        )
        for name, value in zip(("pixel_scale", "pixel_offset"), pixel_scale(), strict=True):
            self.register_buffer(name, value, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map image (n, height, width, 3) uint8 to (n, width, height / 8, width / 8)."""
        z = image.float().permute(0, 3, 1, 2) * self.pixel_scale + self.pixel_offset
        z = z.to(next(self.parameters()).dtype)
        for number, conv in enumerate(self.convs):
            z = conv(functional.silu(z) if number else z)
        return z


class ImageAMN(Condition):
    """Local, then non-local encoder of pictures; the paper's dropout of .1 is left out.

    Parameters
    ----------
    width
        Of the condition, the U-Net's first; Stable Diffusion has 320.
    grid
        Height and width of the latents.
    layers, heads
        Transformer layers and heads of their attention; the paper has 8 of each.
    window
        Side of the hidden neighbourhood; the paper has 7.

    Raises
    ------
    OptionError
        A window, width or number of heads that does not fit.

    Examples
    --------
    >>> import torch
    >>> amn = ImageAMN(32, (8, 8), layers=1, heads=4, window=7)
    >>> added, local = amn(torch.zeros((2, 64, 64, 3), dtype=torch.uint8))
    >>> added.shape, local.shape
    (torch.Size([2, 32, 8, 8]), torch.Size([2, 32, 8, 8]))
    """

    def __init__(
        self, width: int, grid: tuple[int, int], *, layers: int, heads: int, window: int
    ) -> None:
        super().__init__()
        self.local = LocalEncoder(width)
        self.non_local = NonLocalEncoder(width, grid, layers, heads, INNER, window)

    def forward(self, told: Tensor) -> tuple[Tensor, Tensor]:
        """Map image (n, height, width, 3) uint8 to condition and local encoding."""
        local = self.local(told)
        return self.non_local(local), local
