"""What graphs of CDAD are put together from, whichever form it has."""

from dataclasses import dataclass

from torch import Tensor, nn

from cad_edge_export.fused_task import ModulePrecision
from cad_edge_training.methods.cdad.schedule import SamplingPlan


@dataclass(frozen=True)
class GraphParts:
    """Modules whose inputs and answers are float32 but for those of ``unet``; all are frozen."""

    trunk: nn.Module
    """hidden (n, ...) after the entry -> latents (n, c, h, w)."""
    amn: nn.Module
    """What the condition is told (n, ...), in the graph's precision -> (n, width, h, w)."""
    unet: nn.Module
    """x, biases, added, in the graph's precision -> prediction."""
    judge: nn.Module
    """latents, restored -> score (n,), anomaly_map (n, height, width)."""
    tables: list[list[Tensor]]
    """Biases (1, width, 1, 1) float32 of every block, of every step."""
    sees_pictures: bool
    """Whether AMN is told the frame, (n, height, width, 3) uint8, and not its latents."""
    plan: SamplingPlan
    precision: ModulePrecision

    @property
    def widths(self) -> list[int]:
        """Channels of the biases of each block."""
        return [bias.shape[1] for bias in self.tables[0]]
