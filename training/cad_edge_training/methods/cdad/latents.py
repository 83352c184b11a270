"""Latents: the frozen backbone's features in whitened principal directions.

The paper's latents are those of an autoencoder of pixels, which costs many times the backbone. Here
features are the latents themselves, and the distance of Eq. 1 is taken where the diffusion runs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.patch_features import patch_features

LATENT = "latent/"
"""Prefix in shared weights."""


@dataclass(frozen=True)
class LatentSpace:
    """From features of d channels to latents of c."""

    matrix: Tensor
    """(d, c) float32."""
    bias: Tensor
    """(c,) float32, which takes the mean off."""

    def __call__(self, features: Tensor) -> Tensor:
        """Latents (n, c, h, w) of features (n, d, h, w)."""
        flat = features.permute(0, 2, 3, 1) @ self.matrix + self.bias
        return flat.permute(0, 3, 1, 2)

    def parts(self, looked: Parts) -> Parts:
        """Parts whose ``latents`` are features yet, (n, d, h, w)."""
        return Parts(self(looked.latents))

    def tensors(self) -> Tensors:
        """Lay out for shared weights."""
        return {LATENT + "matrix": self.matrix.numpy(), LATENT + "bias": self.bias.numpy()}

    @staticmethod
    def of_arrays(arrays: Tensors) -> "LatentSpace":
        """Undo `tensors`."""
        values = (np.array(arrays[LATENT + name]) for name in ("matrix", "bias"))
        return LatentSpace(*map(torch.from_numpy, values))


def fit_space(features: Tensor, channels: int, shrinkage: float) -> LatentSpace:
    """Fit a space to features (n, d, h, w) of good parts.

    Channels are brought to unit deviation, and of their covariance V E V^T the ``channels`` largest
    directions are taken as V (E + shrinkage * mean(E))^(-1/2), so that latents have mean 0 and
    nearly unit deviation, and are uncorrelated. With fewer channels than asked for all are taken.
    """
    flat = features.permute(0, 2, 3, 1).flatten(0, 2).double()
    mean, deviation = flat.mean(0), flat.std(0).clamp_min(1e-6)
    scaled = (flat - mean) / deviation
    values, vectors = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
    kept = min(channels, len(values))
    values, vectors = values[-kept:], vectors[:, -kept:]
    scale = (values.clamp_min(0) + shrinkage * values.mean()).clamp_min(1e-12).rsqrt()
    # Eigenvectors come column by column, an order that safetensors would not keep.
    matrix = (vectors * scale / deviation[:, None]).contiguous()
    return LatentSpace(matrix.float(), -(mean @ matrix).float())


def look(backbone: Backbone, config: Config, image: Tensor) -> Tensor:
    """Features (n, d, h, w) of image (n, height, width, 3) uint8 on the deepest block's grid."""
    states = backbone.run(backbone.normalise(image), config.blocks[-1])
    return patch_features(backbone, states, config.blocks)
