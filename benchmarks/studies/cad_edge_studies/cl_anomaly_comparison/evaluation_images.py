"""Images that learners are asked about, as the frozen tower sees them, and what a model says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cad_edge.data.product import LabelledImage
from cad_edge_benchmarks.reporting.progress import quiet

if TYPE_CHECKING:
    from torch import Tensor

    from cad_edge_training.backbones import Backbone
    from cad_edge_training.methods.cl_anomaly.model import CLAnomaly

Scores = npt.NDArray[np.float32]
_BATCH = 32


@dataclass(frozen=True)
class Shown:
    """Images of one task; learning never meets them."""

    paths: tuple[Path, ...]
    tokens: "Tensor"
    """(k, n_tokens, vision_width) float32, of the tower."""
    anomalous: npt.NDArray[np.bool_]
    """(k,) bool."""


def show(backbone: "Backbone", items: Sequence[LabelledImage]) -> Shown:
    """Run the tower over images, once for all that are asked about them."""
    import torch

    from cad_edge_training.images import read_images
    from cad_edge_training.methods.cl_anomaly.start import as_llava

    paths, base = tuple(item.path for item in items), as_llava(backbone)
    images = torch.from_numpy(read_images(paths, backbone.recipe, quiet))
    with torch.inference_mode():
        tokens = torch.cat([base.look(part) for part in torch.split(images, _BATCH)])
    return Shown(paths, tokens, np.array([item.anomalous for item in items]))


def scores_of(model: "CLAnomaly", tokens: "Tensor") -> Scores:
    """Scores (k,) float32 of tower tokens (k, n_tokens, vision_width)."""
    import torch

    with torch.inference_mode():
        parts = [model.from_tokens(part) for part in torch.split(tokens, _BATCH)]
    found: Scores = torch.cat(parts).numpy()
    return found
