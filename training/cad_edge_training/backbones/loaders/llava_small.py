"""The embedded small language model."""

from cad_edge_training.backbones.backbone import Backbone
from cad_edge_training.backbones.loader import BackboneLoader


def _load(source: str, size: int | None) -> Backbone:
    from cad_edge_training.backbones.llava.small import load_small

    return load_small(size)


LOADER = BackboneLoader(_load, takes_id=False)
