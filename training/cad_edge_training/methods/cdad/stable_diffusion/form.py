"""The published form: latents of an autoencoder, pictures compared in features of a ResNet."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones.stable_diffusion.base import StableDiffusion
from cad_edge_training.gaussian import smooth
from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.form import Array, Reconstructor
from cad_edge_training.methods.cdad.network import NETWORK, copied, put_in
from cad_edge_training.methods.cdad.parts import Parts, joined
from cad_edge_training.methods.cdad.stable_diffusion.network import (
    StableDiffusionNetwork,
    empty_unet,
    network_of,
)
from cad_edge_training.methods.cdad.stable_diffusion.options import require_own
from cad_edge_training.methods.cdad.start import NOISE, Start
from cad_edge_training.patch_features import BATCH

TEXT = f"{NETWORK}unet.text"
"""Name in shared weights: the constant text (tokens, width) float32."""


class IdentitySpace:
    """The space of latents that an autoencoder gives, which needs no fitting."""

    def parts(self, looked: Parts) -> Parts:
        """Return parts as they are."""
        return looked

    def tensors(self) -> Tensors:
        """Return nothing: the autoencoder is the backbone's."""
        return {}


@dataclass(frozen=True)
class StableDiffusionForm:
    """A `Form` for `StableDiffusion`."""

    backbone: StableDiffusion
    config: Config

    @staticmethod
    def checked(backbone: StableDiffusion, config: Config) -> "StableDiffusionForm":
        """Return the form; OptionError where options are those of another one."""
        require_own(config, backbone.identity.id)
        return StableDiffusionForm(backbone, config)

    def look(self, image: Tensor) -> Parts:
        """Latents, the posterior's scaled mean, beside image (n, height, width, 3) uint8."""
        last = self.backbone.n_blocks - 1
        return Parts(self.backbone.run(self.backbone.normalise(image), last)[last], image)

    def start(self, before: Tensors | None, looked: Parts, seed: int) -> Start:
        """Begin a step.

        Errors are those of `put_in`, `LayerBases.from_tensors`, and of reading the U-Net and the
        text.
        """
        if before is not None:
            network, bases = self._network(copied(before)), LayerBases.from_tensors(before)
            return Start(IdentitySpace(), network, _noise(before), bases)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            text = self.backbone.load_context()
            network = network_of(self.backbone, self.config, self.backbone.load_unet(), text)
            noise = torch.randn(1, self.backbone.channels, *self.backbone.grid)
        return Start(IdentitySpace(), network, noise, LayerBases({}))

    def restorer(self, shared_weights: Tensors) -> Reconstructor:
        """Read what a step left behind, without a copy of it; errors are those of `put_in`."""
        return Reconstructor(IdentitySpace(), self._network(shared_weights), _noise(shared_weights))

    def _network(self, shared_weights: Tensors) -> StableDiffusionNetwork:
        model, text = empty_unet(self.backbone.unet_config), np.array(shared_weights[TEXT])
        network = network_of(self.backbone, self.config, model, torch.from_numpy(text))
        put_in(network, shared_weights, "backbone, attention_layers and heads")
        return network

    def verdict(self, latents: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
        """Map (n, height, width) of how far decoded pictures are apart, and its highest (n,).

        Features are compared by the length of their difference over channels, where Eq. 1 of the
        paper has its square, as released.
        """
        recipe = self.backbone.recipe
        size = (recipe.height, recipe.width)
        pictures = self.backbone.decoder(torch.cat((latents, restored)))
        total = latents.new_zeros((len(latents), *size))
        for features in self.backbone.scorer(pictures):
            seen, wanted = features.chunk(2)
            apart = torch.linalg.vector_norm(seen - wanted, dim=1)
            total += functional.interpolate(
                apart[:, None], size=size, mode="bilinear", align_corners=True
            )[:, 0]
        located = smooth(total, size, self.config.smoothing)
        return located.amax(dim=(1, 2)), located

    def to_keep(self, parts: Parts) -> Array:
        """Pictures (n, height, width, 3) uint8: AMN learns on, and is told nothing else."""
        assert parts.pictures is not None
        return parts.pictures.numpy()

    def kept(self, tensor: Array) -> Parts:
        """Look at the pictures of `to_keep` again."""
        pictures = torch.from_numpy(np.array(tensor))
        with torch.no_grad():
            return joined([self.look(some) for some in pictures.split(BATCH)])  # type: ignore[no-untyped-call]


def _noise(shared_weights: Tensors) -> Tensor:
    return torch.from_numpy(np.array(shared_weights[NOISE]))
