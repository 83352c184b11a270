"""PaDiM fused: early blocks shared with routing, whitening as one batched product."""

from collections.abc import Mapping

from torch import Tensor

from cad_edge_export.fusion import Fusion
from cad_edge_export.scoring_head import ScoringFusion, ScoringHead
from cad_edge_training.methods.padim.config import Config
from cad_edge_training.methods.padim.model import distance, features_of


class PadimHead(ScoringHead[Config]):
    """Mahalanobis distance of every patch; its maximum is the score."""

    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Score (batch,) and anomaly_map (batch, height, width)."""
        patches = distance(features_of(self.backbone, self.config, states), tensors)
        return patches.amax(dim=(1, 2)), self.anomaly_map(patches, self.config.smoothing)

    def means(self, states: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Mean features (d,), by which the means of the Gaussians move."""
        return {"mean": features_of(self.backbone, self.config, states).mean(dim=(0, 2, 3))}


class PaDiMFusion(ScoringFusion[Config]):
    """PaDiM as the exporter sees it."""

    config, head = Config, PadimHead

    def blocks(self, config: Config) -> tuple[int, ...]:
        """Blocks whose features are scored, ascending."""
        return config.blocks


FUSION: Fusion[Config] = PaDiMFusion()
