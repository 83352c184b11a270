"""EfficientNet of transformers."""

from typing import TYPE_CHECKING

from cad_edge_training.backbones.loader import BackboneLoader

if TYPE_CHECKING:
    from cad_edge_training.backbones.backbone import Backbone


def _load(source: str, size: int | None) -> "Backbone":
    from cad_edge_training.backbones.efficientnet import load_efficientnet

    return load_efficientnet(source, size)


LOADER = BackboneLoader(_load, takes_id=True)
