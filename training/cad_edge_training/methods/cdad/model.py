"""CDAD: the reference model, as training leaves it (METHODS 4).

    z = latents of the frame      ẑ = the network's, restored from z with noise on it
    map = smoothed |z - ẑ| over channels (Eq. 1)      score = mean of its highest cells

One network serves all products; of a product it takes nothing.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import Tensors
from cad_edge_training.backbones import Backbone
from cad_edge_training.gaussian import smooth
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.latents import LatentSpace, look
from cad_edge_training.methods.cdad.network import NETWORK, Network, network_of, sampling_of
from cad_edge_training.methods.cdad.start import NOISE
from cad_edge_training.patch_features import highest

SIZE = "size"
"""Name in shared weights: height and width of the images that were learned from, (2,) int64."""


class CDAD(nn.Module):
    """image -> score, anomaly_map."""

    def __init__(
        self,
        backbone: Backbone,
        config: Config,
        space: LatentSpace,
        network: Network,
        noise: Tensor,
    ) -> None:
        super().__init__()
        self.backbone, self.config, self.space = backbone, config, space
        self.network, self.noise = network, noise
        self.sampling = sampling_of(config)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score (batch,) and map (batch, h, w) of image (batch, h, w, 3) uint8."""
        return self.judge(self.latents(image))

    def latents(self, image: Tensor) -> Tensor:
        """Latents (batch, c, h, w) of image (batch, h, w, 3) uint8."""
        return self.space(look(self.backbone, self.config, image))

    def reconstructed(self, latents: Tensor) -> Tensor:
        """Latents (batch, c, h, w) of the part as it would be if it were good."""
        restored: Tensor = self.network(latents, self.noise, self.sampling)
        return restored

    def judge(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Score (batch,) and map (batch, h, w) of latents (batch, c, h, w)."""
        cells = torch.linalg.vector_norm(latents - self.reconstructed(latents), dim=1)
        recipe = self.backbone.recipe
        located = smooth(cells, (recipe.height, recipe.width), self.config.smoothing)
        return highest(cells.flatten(1), self.config.share), located


def model_of(backbone: Backbone, config: Config, shared_weights: Tensors) -> CDAD:
    """Build from what all products share; errors are those of `require_size`."""
    require_size(backbone, shared_weights)
    noise = torch.from_numpy(np.array(shared_weights[NOISE]))
    grid = (noise.shape[2], noise.shape[3])
    network = network_of(config, noise.shape[1], grid, shared_weights)
    space = LatentSpace.of_arrays(shared_weights)
    return CDAD(backbone, config, space, network, noise).eval()


def require_size(backbone: Backbone, shared_weights: Tensors) -> None:
    """Raise ArtifactError where a backbone takes images of another size than those learned from."""
    recipe, learned = backbone.recipe, [int(one) for one in shared_weights[SIZE]]
    if learned != [recipe.height, recipe.width]:
        raise ArtifactError(
            f"the network of cdad was learned at {learned[1]} x {learned[0]} pixels and cannot "
            f"look at {recipe.width} x {recipe.height}; load the backbone for {learned[1]}"
        )


def is_whole(shared_weights: Mapping[str, object]) -> bool:
    """Whether shared weights hold a network, and not only the step that a task belongs to."""
    return any(name.startswith(NETWORK) for name in shared_weights)
