"""What drawn experts learn from, and what comes out of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cad_edge_training.methods.anomaly_moe.drawn.component_expert import pool_components
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout


@dataclass(frozen=True)
class TrainingData:
    """Good images of all products of a step, on one device."""

    layout: Layout
    features: Tensor
    """(n, d, h, w) float32, standardised."""
    pixels: Tensor | Callable[[Tensor], Tensor]
    """(n, 3, H, W) float32, normalised as for the backbone; or what gives those of images (m,)
    int64 as (m, 3, H, W), where all together are too many to hold."""
    descriptors: Tensor
    """(n, D) float32, standardised."""
    assignment: Tensor
    """(n, K, h·w), 1 where a cell is of a component and 0 elsewhere."""
    geometry: Tensor | None = None
    """(n, K, layout.geometry) float32, standardised; None with `layout.geometry` 0."""

    def __len__(self) -> int:
        return len(self.features)

    def pixels_of(self, index: Tensor) -> Tensor:
        """Pixels (m, 3, H, W) of images (m,) int64."""
        return self.pixels[index] if isinstance(self.pixels, Tensor) else self.pixels(index)

    def components(self) -> tuple[Tensor, Tensor]:
        """Vectors (n, K, d + geometry) and presence (n, K) of all components."""
        pooled, present = pool_components(self.features, self.assignment)
        if self.geometry is not None:
            pooled = torch.cat([pooled, self.geometry * present[..., None]], dim=-1)
        return pooled, present


@dataclass(frozen=True)
class TrainingRecord:
    """How the learning went."""

    mean_gates: Mapping[str, float]
    """Weight of each level, the mean over training images, by the router as it ended."""
    unexplained: Mapping[str, float]
    """Running mean of 1 - R² of levels that were chosen, over their constant predictors."""
    images: Mapping[str, int]
    """Training images that chose an expert by the router as it ended; keys as ``patch.0``."""
    load: float
    """Load of ESB over all training images, which teaches nothing."""

    @property
    def unused(self) -> tuple[str, ...]:
        """Experts that no image chose, to be dropped."""
        return tuple(name for name, count in self.images.items() if not count)


@dataclass(frozen=True)
class DrawnExperts:
    """Experts and router of a step."""

    weights: Mapping[str, Tensor]
    """Of all experts; names begin with level and number, as ``patch.0``."""
    router: Mapping[str, Tensor]
    record: TrainingRecord
