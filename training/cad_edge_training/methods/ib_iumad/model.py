"""IB-IUMAD (METHODS 5): the reference model of one product, as training leaves it.

One network serves all products; of a product it takes the range of its depth and nothing else.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.frozen import STRIDE, FrozenFeatures, look, stage_ends
from cad_edge_training.methods.ib_iumad.network import Network

NETWORK, MEAN, DEVIATION = "network/", "mean/", "deviation/"
"""Prefixes in shared weights: of weights, and by modality of what tokens are standardised with."""
DEPTH_RANGE = "depth_range"

Array = np.ndarray[Any, np.dtype[Any]]


class IBIUMAD(nn.Module):
    """image [, depth] -> score, anomaly_map."""

    def __init__(
        self,
        backbone: Backbone,
        network: Network,
        scaling: Mapping[str, tuple[Tensor, Tensor]],
        depth_range: Tensor | None,
    ) -> None:
        """Join what is frozen, what is learned and the range of a product's depth."""
        super().__init__()
        self.backbone, self.network, self.config = backbone, network, network.config
        self.scaling, self.depth_range = dict(scaling), depth_range

    @classmethod
    def of(cls, backbone: Backbone, config: Config, tensors: Tensors) -> "IBIUMAD":
        """Build from `LearnedTask.model_tensors`."""
        place = int(tensors["sharing_tasks/index"])
        own = tensors.get(f"task/{place:04d}/{DEPTH_RANGE}")
        model = cls(
            backbone,
            network_of(backbone, config, tensors),
            scaling_of(config, tensors),
            None if own is None else torch.from_numpy(own),
        )
        return model.eval()

    def forward(self, image: Tensor, depth: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Judge frames.

        Parameters
        ----------
        image
            (batch, height, width, 3) uint8 RGB at the backbone's recipe.
        depth
            (batch, height, width) float32 in the sensor's units, 0 for no measurement; where the
            product is learned with depth.

        Returns
        -------
        score, anomaly_map
            (batch,) and (batch, height, width) float32.
        """
        return self.judge(self.see(image, depth))

    def see(self, image: Tensor, depth: Tensor | None) -> FrozenFeatures:
        """Run the frozen backbone."""
        return look(self.backbone, self.config, image, depth, self.depth_range)

    def judge(self, seen: FrozenFeatures) -> tuple[Tensor, Tensor]:
        """Score frames by their tokens; as `forward`."""
        cells = residual(self.network, standardised(seen, self.scaling))
        side = self.backbone.recipe.height // STRIDE
        size = (self.backbone.recipe.height, self.backbone.recipe.width)
        grid = cells.reshape(-1, 1, side, side)
        anomaly_map = functional.interpolate(grid, size, mode="bilinear", align_corners=True)
        # The largest mean over windows of 16 x 16 px, as UniAD and IUF score images.
        score = functional.avg_pool2d(anomaly_map, STRIDE, 1).amax(dim=(1, 2, 3))
        return score, anomaly_map[:, 0]


def residual(network: Network, seen: FrozenFeatures) -> Tensor:
    """How far tokens are from what the network restores, (batch, n): ||F - F^g|| (Eq. 9).

    That of each modality whose features are restored, added; of depth only as far as a cell was
    measured.
    """
    found = network(seen.tokens, seen.tokens).features
    parts = found.chunk(len(network.config.targets), dim=-1)
    total = torch.zeros_like(parts[0][..., 0])
    for name, part in zip(network.config.targets, parts, strict=True):
        distance = torch.linalg.vector_norm(seen.tokens[name] - part, dim=-1)
        total = total + (distance * seen.measured if _is_depth(name, seen) else distance)
    return total


def _is_depth(name: str, seen: FrozenFeatures) -> bool:
    return name == "depth" and seen.measured is not None


def standardised(
    seen: FrozenFeatures, scaling: Mapping[str, tuple[Tensor, Tensor]]
) -> FrozenFeatures:
    """Tokens less a mean and over a deviation (channels,) by modality."""
    tokens = {
        name: (one - scaling[name][0]) / scaling[name][1] for name, one in seen.tokens.items()
    }
    return FrozenFeatures(tokens, seen.measured)


def network_of(backbone: Backbone, config: Config, tensors: Mapping[str, Array]) -> Network:
    """Return the network whose weights were shared."""
    state = {
        name.removeprefix(NETWORK): torch.from_numpy(value)
        for name, value in tensors.items()
        if name.startswith(NETWORK)
    }
    classes = next((len(value) for name, value in state.items() if name.startswith("heads.")), 0)
    network = new_network(backbone, config, classes)
    network.load_state_dict(state)
    return network


def new_network(backbone: Backbone, config: Config, classes: int) -> Network:
    """Draw a network that fits a backbone."""
    ends = stage_ends(backbone)
    side = backbone.recipe.height // STRIDE
    widths: list[int] = backbone.widths  # type: ignore[assignment]
    return Network(config, sum(widths[end] for end in ends), side * side, classes)


def scaling_of(config: Config, tensors: Mapping[str, Array]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation (channels,) of tokens by modality, as shared weights hold them."""
    return {
        name: (torch.from_numpy(tensors[MEAN + name]), torch.from_numpy(tensors[DEVIATION + name]))
        for name in config.modalities
    }
