"""EfficientNet-Lite0, embedded."""

from typing import TYPE_CHECKING

from cad_edge_training.backbones.loader import BackboneLoader

if TYPE_CHECKING:
    from cad_edge_training.backbones.backbone import Backbone


def _load(source: str, size: int | None) -> "Backbone":
    from cad_edge_training.backbones.efficientnet_lite0 import load

    return load(size)


LOADER = BackboneLoader(_load, takes_id=False)
