"""IB-IUMAD (METHODS 5): the reference model of one product, as training leaves it.

One network serves all products; of a product it takes the range of its depth and nothing else.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.memory_bank import Whitening
from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.frozen import STRIDE, FrozenFeatures, look, stage_ends
from cad_edge_training.methods.ib_iumad.held_out import KeptParts, kept
from cad_edge_training.methods.ib_iumad.network import Network
from cad_edge_training.methods.ib_iumad.whitening import (
    Residuals,
    cross_fitted_distances,
    distances,
    fit_or_identity,
)

NETWORK, MEAN, DEVIATION = "network/", "mean/", "deviation/"
"""Prefixes in shared weights: of weights, and by modality of what tokens are standardised with."""
DEPTH_RANGE = "depth_range"

Array = np.ndarray[Any, np.dtype[Any]]
_BATCH = 16


class IBIUMAD(nn.Module):
    """image [, depth] -> score, anomaly_map."""

    def __init__(
        self,
        backbone: Backbone,
        config: Config,
        network: Network | None,
        scaling: Mapping[str, tuple[Tensor, Tensor]],
        own: Mapping[str, Array],
    ) -> None:
        """Join what is frozen, what is learned, and ``own`` tensors of a product."""
        super().__init__()
        self.backbone, self.config, self.network = backbone, config, network
        self.scaling = dict(scaling)
        found = own.get(DEPTH_RANGE)
        self.depth_range = None if found is None else torch.from_numpy(found)
        self.whitening = whitening_of(config, network, scaling, own)

    @classmethod
    def of(cls, backbone: Backbone, config: Config, tensors: Tensors) -> "IBIUMAD":
        """Build from `LearnedTask.model_tensors`."""
        network, scaling = network_of(backbone, config, tensors), scaling_of(config, tensors)
        return cls(backbone, config, network, scaling, own_tensors(tensors)).eval()

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
        seen = look(self.backbone, self.config, image, depth, self.depth_range)
        found = residuals(self.config, self.network, standardised(seen, self.scaling))
        return self.scored(
            found.lengths() if self.whitening is None else distances(found, self.whitening)
        )

    def held_out_distances(self, parts: KeptParts) -> Tensor:
        """Distances (parts, n) of the held-out ones, each by a whitening that has not seen it."""
        found = residuals(self.config, self.network, standardised(parts.seen, self.scaling))
        if self.whitening is None:
            return found.lengths()[: parts.held_out]
        return cross_fitted_distances(found, parts.groups, parts.held_out)

    def scored(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Score and map, as `forward`, of the distance of every cell, (batch, n)."""
        side = self.backbone.recipe.height // STRIDE
        size = (self.backbone.recipe.height, self.backbone.recipe.width)
        grid = cells.reshape(-1, 1, side, side)
        anomaly_map = functional.interpolate(grid, size, mode="bilinear", align_corners=True)
        # The largest mean over windows of 16 x 16 px, as UniAD and IUF score images.
        score = functional.avg_pool2d(anomaly_map, STRIDE, 1).amax(dim=(1, 2, 3))
        return score, anomaly_map[:, 0]


def residuals(config: Config, network: Network | None, seen: FrozenFeatures) -> Residuals:
    """Subtract what the network restores from what was seen; without one, nothing.

    Parameters
    ----------
    seen
        Standardised, of any number of frames.
    """
    tokens = {name: seen.tokens[name] for name in config.targets}
    measured = seen.measured if "depth" in tokens else None
    if network is None:
        return Residuals(tokens, measured)
    restored = []
    with torch.inference_mode():
        for index in torch.split(torch.arange(len(next(iter(tokens.values())))), _BATCH):
            shown = seen.rows(index).tokens
            restored.append(network(shown, shown).features)
    parts = torch.cat(restored).chunk(len(tokens), dim=-1)
    gaps = {name: one - part for (name, one), part in zip(tokens.items(), parts, strict=True)}
    return Residuals(gaps, measured)


def whitening_of(
    config: Config,
    network: Network | None,
    scaling: Mapping[str, tuple[Tensor, Tensor]],
    own: Mapping[str, Array],
) -> Whitening | None:
    """Whitening of a product by the good parts that it keeps; None where residuals stay plain.

    Raises
    ------
    ArtifactError
        What is kept was seen by another backbone, or by a version that kept less.
    """
    if config.residual == "plain":
        return None
    parts = kept(own)
    for name, tokens in parts.seen.tokens.items():
        if tokens.shape[-1] != len(scaling[name][0]):
            raise ArtifactError(
                f"kept good parts have {tokens.shape[-1]} channels of {name} where the network has "
                f"{len(scaling[name][0])}; the artifacts are of two models, learn them again"
            )
    found = residuals(config, network, standardised(parts.seen, scaling))
    return fit_or_identity(found, parts.groups)


def own_tensors(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors of the product itself, by their own names, out of `LearnedTask.model_tensors`."""
    prefix = f"task/{int(tensors['sharing_tasks/index']):04d}/"
    return {
        name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)
    }


def standardised(
    seen: FrozenFeatures, scaling: Mapping[str, tuple[Tensor, Tensor]]
) -> FrozenFeatures:
    """Tokens less a mean and over a deviation (channels,) by modality."""
    tokens = {
        name: (one - scaling[name][0]) / scaling[name][1] for name, one in seen.tokens.items()
    }
    return FrozenFeatures(tokens, seen.measured)


def network_of(backbone: Backbone, config: Config, tensors: Mapping[str, Array]) -> Network | None:
    """Return the network whose weights were shared, to infer with; None where there is none."""
    if not config.reconstruct:
        return None
    state = {
        name.removeprefix(NETWORK): torch.from_numpy(value)
        for name, value in tensors.items()
        if name.startswith(NETWORK)
    }
    classes = next((len(value) for name, value in state.items() if name.startswith("heads.")), 0)
    network = new_network(backbone, config, classes)
    network.load_state_dict(state)
    return network.eval()


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
