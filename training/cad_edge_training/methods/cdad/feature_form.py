"""The embedded form: latents are the frozen backbone's features, and compared as such.

Parts are kept as float16 latents and never as pixels: 25 KB each at 224 px.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.gaussian import smooth
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.form import Array, Reconstructor
from cad_edge_training.methods.cdad.held_out import of_half, to_half
from cad_edge_training.methods.cdad.latents import LatentSpace, look
from cad_edge_training.methods.cdad.network import network_of
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.methods.cdad.start import NOISE, Start
from cad_edge_training.patch_features import highest


@dataclass(frozen=True)
class FeatureForm:
    """A `Form` for any backbone with blocks."""

    backbone: Backbone
    config: Config

    def look(self, image: Tensor) -> Parts:
        """Features of image (n, height, width, 3) uint8."""
        return Parts(look(self.backbone, self.config, image))

    def start(self, before: Tensors | None, looked: Parts, seed: int) -> Start:
        """Begin a step; errors are those of `Start.further`."""
        if before is not None:
            return Start.further(before, self.config, looked.latents)
        if self.config.initial == "small":
            return Start.small(looked.latents, self.config)
        return Start.first(looked.latents, self.config, seed)

    def restorer(self, shared_weights: Tensors) -> Reconstructor:
        """Read what a step left behind; errors are those of `network_of`."""
        noise = torch.from_numpy(np.array(shared_weights[NOISE]))
        grid = (noise.shape[2], noise.shape[3])
        network = network_of(self.config, noise.shape[1], grid, shared_weights)
        return Reconstructor(LatentSpace.of_arrays(shared_weights), network, noise)

    def verdict(self, latents: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Mean distance (n,) of the furthest cells, and map (n, height, width)."""
        cells = torch.linalg.vector_norm(latents - restored, dim=1)
        recipe = self.backbone.recipe
        located = smooth(cells, (recipe.height, recipe.width), self.config.smoothing)
        return highest(cells.flatten(1), self.config.share), located

    def to_keep(self, parts: Parts) -> Array:
        """Latents as float16, and never pixels."""
        return to_half(parts.latents)

    def kept(self, tensor: Array) -> Parts:
        """Undo `to_keep`."""
        return Parts(of_half(tensor))
