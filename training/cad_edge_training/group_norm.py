"""GroupNorm written as LayerNorm of rows, which every engine has, and nearest upsampling."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class PortableGroupNorm(nn.Module):
    """`nn.GroupNorm`; statistics are float32, whatever comes in and goes out."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.register_buffer("scale", norm.weight.detach().reshape(1, -1, 1, 1).clone())
        self.register_buffer("shift", norm.bias.detach().reshape(1, -1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, channels, h, w)."""
        channels, height, width = x.shape[1:]
        row = channels // self.groups * height * width
        rows = x.float().reshape(-1, self.groups, row)
        even = functional.layer_norm(rows, (row,), eps=self.eps)
        out: Tensor = even.reshape(-1, channels, height, width) * self.scale + self.shift
        return out.to(x.dtype)


def nearest_upsampled(x: Tensor) -> Tensor:
    """Make four cells of each, (n, channels, h, w) to (n, channels, 2 h, 2 w)."""
    channels, height, width = x.shape[1:]
    wide = torch.stack((x, x), dim=-1).reshape(-1, channels, height, 2 * width)
    return torch.stack((wide, wide), dim=3).reshape(-1, channels, 2 * height, 2 * width)
