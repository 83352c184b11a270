"""What a step starts from: the network before it, and at the first one drawn or shipped weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from cad_edge.errors import OptionError
from cad_edge.store.artifact import Tensors
from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.latents import LatentSpace, fit_space
from cad_edge_training.methods.cdad.network import (
    DiffusionNetwork,
    Network,
    network_of,
    to_tensors,
)
from cad_edge_training.methods.cdad.parts import Space

SMALL = Path(__file__).parent / "small" / "model.safetensors"
"""Weights learned on procedural surfaces and parts, and their latent space."""
NOISE = "noise"
"""Name in shared weights: the sampler's noise (1, c, h, w)."""


@dataclass(frozen=True)
class Start:
    """A network that is ready to learn a step."""

    space: Space
    network: DiffusionNetwork
    noise: Tensor
    """(1, c, h, w) float32, for good."""
    bases: LayerBases
    """Of the products before."""

    @staticmethod
    def first(features: Tensor, config: Config, seed: int) -> "Start":
        """Begin with drawn weights and a latent space of features (n, d, h, w) of good parts."""
        space = fit_space(features, config.channels, config.shrinkage)
        channels, grid = space.matrix.shape[1], (features.shape[2], features.shape[3])
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            network = Network(config, channels, grid)
            noise = torch.randn(1, channels, *grid)
        return Start(space, network, noise, LayerBases({}))

    @staticmethod
    def small(features: Tensor, config: Config) -> "Start":
        """Begin with the weights that come with cad-edge; errors are those of `further`."""
        try:
            return Start.further(load_file(SMALL), config, features)
        except OptionError as problem:
            raise OptionError(
                f"{problem}, or start from drawn weights with initial=drawn"
            ) from None

    @staticmethod
    def further(shared_weights: Tensors, config: Config, features: Tensor) -> "Start":
        """Go on with the network of the steps before.

        Where the first one began with the weights that come with cad-edge, norms, biases and the
        time embedding stay as they are at every step.

        Raises
        ------
        OptionError
            Its weights are of other sizes than options or features (n, d, h, w) ask for.
        """
        noise = torch.from_numpy(np.array(shared_weights[NOISE]))
        space = LatentSpace.of_arrays(shared_weights)
        grid = (noise.shape[2], noise.shape[3])
        asked = (features.shape[1], *features.shape[2:])
        if (space.matrix.shape[0], *grid) != asked:
            raise OptionError(
                f"the network's latents are of {space.matrix.shape[0]} channels on {grid[0]} x "
                f"{grid[1]} cells, and these images give {asked[0]} on {asked[1]} x {asked[2]}; "
                "give the backbone, blocks and size that it was learned with"
            )
        if noise.shape[1] != (latents := min(config.channels, features.shape[1])):
            raise OptionError(
                f"the network's latents have {noise.shape[1]} channels and not {latents}; give "
                f"channels={noise.shape[1]}"
            )
        network = network_of(config, noise.shape[1], grid, shared_weights)
        if config.initial == "small":
            layers = {id(layer.weight) for layer in network.projected().values()}
            for one in network.parameters():
                one.requires_grad_(id(one) in layers)
        return Start(space, network, noise, LayerBases.from_tensors(shared_weights))

    def tensors(self) -> Tensors:
        """Lay out for shared weights, without bases."""
        return to_tensors(self.network) | self.space.tensors() | {NOISE: self.noise.numpy()}
