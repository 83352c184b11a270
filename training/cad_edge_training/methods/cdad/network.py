"""The network of CDAD: AMN, which is told what was seen, and the U-Net that restores latents."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.errors import OptionError
from cad_edge_training.methods.cdad.condition import AMN
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.denoiser import Condition, Denoiser
from cad_edge_training.methods.cdad.inputs import projected_layers
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.methods.cdad.sampler import reconstruct
from cad_edge_training.methods.cdad.schedule import SamplingPlan, plan
from cad_edge_training.methods.cdad.unet import UNet

NETWORK = "network/"
"""Prefix in shared weights."""
TIME = "time"
"""Part of the names of layers that see points in time alone, which never move after the start."""

Array = np.ndarray[Any, np.dtype[Any]]


class DiffusionNetwork(nn.Module):
    """Latents to latents as those of a good part would be.

    Parameters
    ----------
    amn
        What tells the U-Net of a part.
    unet
        What takes noise off latents.
    """

    def __init__(self, amn: Condition, unet: Denoiser) -> None:
        super().__init__()
        self.amn, self.unet = amn, unet

    def forward(self, parts: Parts, noise: Tensor, sampling: SamplingPlan) -> Tensor:
        """Restore latents (n, c, h, w); equal noise (1, c, h, w) gives equal answers."""
        return reconstruct(self.unet, self.amn, parts.latents, noise, sampling, parts.told)

    def basis_of(self) -> dict[str, str]:
        """Names of bases by layer: queries and keys of an attention see one input."""
        return {
            name: f"{name.removesuffix('key')}query"
            for name, _ in self.named_modules()
            if name.endswith(".key")
        }

    def projected(self) -> dict[str, nn.Conv2d | nn.Linear]:
        """Layers whose weights go on learning after the start."""
        return projected_layers(self, frozen=(TIME,))


class Network(DiffusionNetwork):
    """The embedded form's, whose condition sees latents."""

    def __init__(self, config: Config, channels: int, grid: tuple[int, int]) -> None:
        amn = AMN(
            channels,
            config.width,
            grid,
            local_layers=config.convolutions,
            layers=config.attention_layers,
            heads=config.heads,
            inner=4 * config.width,
            window=config.window,
        )
        super().__init__(amn, UNet(channels, (config.width, config.inner_width)))


def sampling_of(config: Config) -> SamplingPlan:
    """Plan the sampler that options ask for."""
    return plan(config.steps, config.first_time, config.prediction, config.start)


def to_tensors(network: DiffusionNetwork) -> dict[str, Array]:
    """Lay out weights for shared weights."""
    return {
        NETWORK + name: value.detach().numpy().copy()
        for name, value in network.state_dict().items()
    }


def network_of(
    config: Config, channels: int, grid: tuple[int, int], tensors: Mapping[str, Array]
) -> Network:
    """Undo `to_tensors`.

    Raises
    ------
    OptionError
        Options ask for a network of other sizes.
    """
    network = Network(config, channels, grid)
    put_in(network, copied(tensors), "width, inner_width, convolutions and attention_layers")
    return network


def copied(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Copy the weights of `to_tensors` out of shared weights, for a network that learns on."""
    return {name: np.array(value) for name, value in tensors.items() if name.startswith(NETWORK)}


def put_in(network: DiffusionNetwork, tensors: Mapping[str, Array], sizes: str) -> None:
    """Give a network the weights of `to_tensors`; where it learns on, they change.

    Parameters
    ----------
    sizes
        Options that its weights depend on.

    Raises
    ------
    OptionError
        Weights are of other sizes.
    """
    state = {
        name.removeprefix(NETWORK): torch.from_numpy(value)
        for name, value in tensors.items()
        if name.startswith(NETWORK)
    }
    asked = {name: value.shape for name, value in network.state_dict().items()}
    for name in sorted(asked.keys() | state.keys()):
        if name not in state or state[name].shape != asked.get(name):
            raise OptionError(
                f"the network's weights {name} are not those that these options ask for; give the "
                f"{sizes} that it was learned with"
            )
    network.load_state_dict(state, assign=True)
