"""DINOv2 of transformers."""

from typing import TYPE_CHECKING

from cad_edge_training.backbones.loader import BackboneLoader

if TYPE_CHECKING:
    from cad_edge_training.backbones.backbone import Backbone


def _load(source: str, size: int | None) -> "Backbone":
    from cad_edge_training.backbones.dinov2 import load_dinov2

    return load_dinov2(source, size)


LOADER = BackboneLoader(_load, takes_id=True)
