"""The network whose features tell how far two pictures are apart: a ResNet of transformers."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

STRIDES = (4, 8, 16)
"""Pixels of a cell in each of the first stages, whose features are compared."""


class MaxPool3x3(nn.Module):
    """`nn.MaxPool2d` of 3 x 3 cells, stride 2, of numbers that are not negative."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, channels, h / 2, w / 2), for even sides."""
        height, width = x.shape[2], x.shape[3]
        x = functional.pad(x, (1, 1, 1, 1))  # with 0, which is larger than nothing
        rows = [x[:, :, start : start + height : 2] for start in range(3)]
        x = torch.maximum(torch.maximum(rows[0], rows[1]), rows[2])
        columns = [x[:, :, :, start : start + width : 2] for start in range(3)]
        return torch.maximum(torch.maximum(columns[0], columns[1]), columns[2])


class Scorer(nn.Module):
    """Features of the first stages; norms are folded into convolutions, the later stages left out.

    Parameters
    ----------
    model
        A ``ResNetModel``, which is taken apart.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers is untyped
        super().__init__()
        _fold(model)
        self.stem = nn.Sequential(model.embedder.embedder, MaxPool3x3())
        self.stages = nn.ModuleList(list(model.encoder.stages)[: len(STRIDES)])

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Map pixels (n, 3, h, w), normalised, to (n, channels, h / s, w / s) of each stride s."""
        hidden, found = self.stem(pixels), []
        for stage in self.stages:
            hidden = stage(hidden)
            found.append(hidden)
        return found


def _fold(model: nn.Module) -> None:
    for part in model.modules():
        norm = getattr(part, "normalization", None)
        if isinstance(norm, nn.BatchNorm2d):
            conv = part.get_submodule("convolution")
            assert isinstance(conv, nn.Conv2d)
            part.convolution = fuse_conv_bn_eval(conv.eval(), norm.eval())
            part.normalization = nn.Identity()
