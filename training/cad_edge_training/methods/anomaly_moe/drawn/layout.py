"""Sizes that shape the drawn experts, beside the options."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Sizes of what experts see.

    Examples
    --------
    >>> Layout(channels=(120, 112), grid=(14, 14), pixels=(224, 224), descriptor=128).features
    232
    """

    channels: tuple[int, ...]
    """Of the features of each group, in order."""
    grid: tuple[int, int]
    """Height and width of the feature maps, in cells."""
    pixels: tuple[int, int]
    """Height and width of the images."""
    descriptor: int
    """Numbers that the router sees of an image."""
    geometry: int = 0
    """Numbers that follow the features in the vector of a component."""

    @property
    def features(self) -> int:
        """Channels of all groups together."""
        return sum(self.channels)


def channel_statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (d,) of features (n, d, h, w); a deviation is at least 1e-6."""
    deviation, mean = torch.std_mean(features, dim=(0, 2, 3), correction=0)
    return mean, deviation.clamp(min=1e-6)


def standardised(features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Features (n, d, h, w) with mean 0 and deviation 1 in every channel (d,).

    Every expert takes features in this form; as published they are taken as they are.
    """
    return (features - mean[:, None, None]) / deviation[:, None, None]
