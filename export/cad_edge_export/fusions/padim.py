"""PaDiM fused: early blocks shared with routing, whitening as one batched product."""

from collections.abc import Mapping

from torch import Tensor

from cad_edge_export.fusion import Fusion
from cad_edge_export.tensor_head import TensorFusion, TensorHead
from cad_edge_training.methods.padim.config import Config
from cad_edge_training.methods.padim.model import distance, features_of


class Head(TensorHead[Config]):
    """Mahalanobis distance of every patch; its maximum is the score."""

    names = ("mean", "whitening")

    def features(self, states: Mapping[int, Tensor]) -> Tensor:
        """Features (batch, d, h, w) float32 that are judged."""
        return features_of(self.backbone, self.config, states)

    def judge(
        self, states: Mapping[int, Tensor], tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Score (batch,) and anomaly_map (batch, height, width)."""
        patches = distance(self.features(states), tensors)
        return patches.amax(dim=(1, 2)), self.anomaly_map(patches, self.config.smoothing)


class PaDiMFusion(TensorFusion[Config]):
    """PaDiM as the exporter sees it."""

    head = Head
    centre = "mean"


FUSION: Fusion[Config] = PaDiMFusion()
