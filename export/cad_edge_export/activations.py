"""Activations in the form that runtimes know as one operator; torch writes another one."""

import math
from typing import Final

import torch
from torch import Tensor, nn

_SCALE: Final = math.sqrt(2 / math.pi)
_CUBE: Final = 0.044715
_WRITTEN_OUT = "GELUTanh"  # transformers' class; its name, since importing it takes seconds


class TanhGelu(nn.Module):
    """The tanh form of GELU (Hendrycks and Gimpel, 2016), half of x before everything else.

    ONNX Runtime makes one operator of this order, and eight of the one that torch exports.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map x (...) float to the same shape."""
        return (0.5 * x) * (1.0 + torch.tanh(_SCALE * (x + _CUBE * x.pow(3))))


def has_written_out(network: nn.Module) -> bool:
    """Whether `write_out` would change anything."""
    return any(type(part).__name__ == _WRITTEN_OUT for part in network.modules())


def write_out(network: nn.Module) -> None:
    """Put `TanhGelu` where transformers computes the same."""
    for owner in list(network.modules()):
        for name, part in owner.named_children():
            if type(part).__name__ == _WRITTEN_OUT:
                setattr(owner, name, TanhGelu())
