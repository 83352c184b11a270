"""CMPMB as the paper writes it: one frame through trunk, prompts and memory bank to score and map.

    F_p = patch features of the prompted trunk                     Eq. 10, Algorithm 1
    D_p = min_c | F_p - c |                                        nearest-neighbour distance
    S_V = 1 / (1 + exp(-k (D - b)))                                ANM
    S_T = ANM(1 - cos(project(F_p), F_T))                          text branch, where there is one
    M   = alpha S_V + (1 - alpha) S_T                              DFS

The map is M resized to the frame and smoothed, the image score the highest patch of M. Decisions
behind each line: METHODS of the house, section 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from cad_edge_training.backbones.backbone import Backbone
from cad_edge_training.gaussian import smooth
from cad_edge_training.memory_bank import nearest_distance, root_epsilon
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.normalisation import anm
from cad_edge_training.methods.cmpmb.text import text_map
from cad_edge_training.patch_features import as_patches, grid_of, patch_features

MEMORY = "memory"


@dataclass(frozen=True)
class Evidence:
    """What frames show before ANM."""

    distance: Tensor
    """(batch, n_patches) nearest-neighbour distance."""
    text: Tensor | None
    """(batch, n_patches) 1 - cosine to the text feature, if there is one."""
    grid: tuple[int, int]
    """Height and width in patches."""


class CMPMB(nn.Module):
    """One learned task on its frozen backbone."""

    def __init__(self, backbone: Backbone, config: Config, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.backbone, self.config = backbone, config
        self.learned = dict(tensors)
        self.prompts = read_prompts(tensors)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score and locate.

        Parameters
        ----------
        image
            (batch, height, width, 3) uint8 RGB at the recipe's size.

        Returns
        -------
        tuple
            score (batch,) and anomaly_map (batch, height, width), float32.
        """
        evidence = self.evidence(image)
        patches = fused_map(evidence, self.learned, self.config)
        size = (image.shape[1], image.shape[2])
        located = smooth(patches.reshape(-1, *evidence.grid), size, self.config.smoothing)
        return patches.amax(dim=1), located

    def evidence(self, image: Tensor) -> Evidence:
        """Run the trunk and measure the distance of everything to what is normal."""
        backbone, config = self.backbone, self.config
        states = backbone.run(backbone.normalise(image), config.last_block, self.prompts)
        features = patch_features(backbone, states, config.blocks)
        text = self.learned.get("text/feature")
        return Evidence(
            bank_distance(features, self.learned[MEMORY]),
            None if text is None else text_map(backbone, states, text, config).flatten(1),
            grid_of(features),
        )


def bank_distance(features: Tensor, bank: Tensor) -> Tensor:
    """Distance (batch, n_patches) of features (batch, channels, h, w) to a bank (n, channels)."""
    return nearest_distance(as_patches(features), bank, root_epsilon(bank))


def fused_map(evidence: Evidence, tensors: Mapping[str, Tensor], config: Config) -> Tensor:
    """M (batch, n_patches): ANM, unless ``normalisation`` is none, and DFS."""

    def normalised(values: Tensor, branch: str) -> Tensor:
        if config.normalisation == "none":
            return values
        return anm(values, float(tensors[f"anm/{branch}"]), config.slope)

    visual = normalised(evidence.distance, "patch")
    if evidence.text is None:
        return visual
    text = normalised(evidence.text, "text")
    return config.visual_weight * visual + (1 - config.visual_weight) * text


def read_prompts(tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Prompts by block from tensors named ``prompt/<block>``."""
    return {
        int(name.removeprefix("prompt/")): tensor
        for name, tensor in tensors.items()
        if name.startswith("prompt/")
    }
