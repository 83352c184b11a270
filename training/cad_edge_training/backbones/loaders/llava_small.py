"""The embedded small language model."""

from typing import TYPE_CHECKING

from cad_edge_training.backbones.loader import BackboneLoader

if TYPE_CHECKING:
    from cad_edge_training.backbones.backbone import Backbone


def _load(source: str, size: int | None) -> "Backbone":
    from cad_edge_training.backbones.llava.small import load_small

    return load_small(size)


LOADER = BackboneLoader(_load, takes_id=False)
