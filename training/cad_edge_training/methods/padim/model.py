"""PaDiM: a Gaussian per patch position, and the Mahalanobis distance to it (arXiv 2011.08785)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge_training.backbones import Backbone
from cad_edge_training.gaussian import smooth
from cad_edge_training.methods.padim.config import Config
from cad_edge_training.patch_features import patch_features


class Moments(NamedTuple):
    """Sums over ``n`` images, which add up exactly: all images, less those of a fold."""

    n: int
    first: Tensor  # (positions, d) float64, sum of x
    second: Tensor  # (positions, d, d) float64, sum of x x^T

    @staticmethod
    def of(features: Tensor) -> "Moments":
        """Sum over features (n, d, h, w)."""
        x = features.flatten(2).permute(2, 0, 1).double()
        return Moments(len(features), x.sum(1), x.transpose(1, 2) @ x)

    def minus(self, other: "Moments") -> "Moments":
        """Take the images of ``other`` away."""
        return Moments(self.n - other.n, self.first - other.first, self.second - other.second)

    def gaussian(self, shrinkage: float) -> dict[str, Tensor]:
        """Mean (positions, d) and whitening L^-1 (positions, d, d) float32 with S + e I = L L^T.

        S is that of Eq. 1; e, in the paper .01, is ``shrinkage`` times the mean variance.
        """
        mean = self.first / self.n
        covariance = (self.second - mean[:, :, None] @ self.first[:, None]) / max(self.n - 1, 1)
        added = shrinkage * covariance.diagonal(dim1=1, dim2=2).mean().clamp_min(1e-12)
        identity = torch.eye(mean.shape[1], dtype=torch.float64)
        lower = torch.linalg.cholesky(covariance + added * identity)
        whitening = torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)
        return {"mean": mean.float(), "whitening": whitening.float()}


class PaDiM(nn.Module):
    """One learned task on its frozen backbone."""

    def __init__(self, backbone: Backbone, config: Config, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.backbone, self.config, self.tensors = backbone, config, dict(tensors)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score (batch,) and map (batch, h, w) of image (batch, h, w, 3) uint8."""
        patches = distance(features_in(self.backbone, self.config, image), self.tensors)
        located = smooth(patches, (image.shape[1], image.shape[2]), self.config.smoothing)
        return patches.amax(dim=(1, 2)), located


def features_in(backbone: Backbone, config: Config, image: Tensor) -> Tensor:
    """Features (batch, d, h, w) float32 of image (batch, height, width, 3) uint8."""
    return features_of(backbone, config, backbone.run(backbone.normalise(image), config.blocks[-1]))


def features_of(backbone: Backbone, config: Config, states: Mapping[int, Tensor]) -> Tensor:
    """Features (batch, d, h, w) float32 of hidden states: d channels by the paper's random draw."""
    features = patch_features(backbone, states, config.blocks)
    drawn = np.random.default_rng(config.channel_seed).permutation(features.shape[1])
    return features.index_select(1, torch.from_numpy(np.sort(drawn[: config.dimensions])))


def distance(features: Tensor, gaussian: Mapping[str, Tensor]) -> Tensor:
    """Mahalanobis distance (batch, h, w) of features (batch, d, h, w) to their Gaussian, Eq. 2."""
    centred = features.flatten(2).permute(2, 0, 1) - gaussian["mean"][:, None]
    whitened = centred @ gaussian["whitening"].transpose(1, 2)
    return (whitened * whitened).sum(2).sqrt().T.reshape(-1, *features.shape[2:])
