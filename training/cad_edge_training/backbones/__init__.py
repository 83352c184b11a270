"""Frozen pretrained networks that methods draw features from.

`load_backbone` gives one by name; its identity (id and sha256 of all weights) goes into every
artifact, so that an artifact never meets features of another network.
"""

from cad_edge.errors import OptionError
from cad_edge_training.backbones.backbone import Backbone, weights_sha256

__all__ = ["DEFAULT_BACKBONE", "Backbone", "load_backbone", "weights_sha256"]

DEFAULT_BACKBONE = "efficientnet-lite0"


def load_backbone(name: str, size: int | None = None) -> Backbone:
    """Load a frozen backbone.

    Parameters
    ----------
    name
        ``efficientnet-lite0`` or ``llava-small`` (embedded), or ``efficientnet:ID``, ``clip:ID``,
        ``dinov2:ID`` or ``llava:ID`` where ID is a hub id or a local folder that transformers can
        read.
    size
        Input side in pixels; the backbone's own default if None.

    Raises
    ------
    OptionError
        The name is not one of the above, or its weights cannot be found.
    """
    family, _, source = name.partition(":")
    if name == DEFAULT_BACKBONE:
        from cad_edge_training.backbones.efficientnet_lite0 import load

        return load(size)
    if family == "efficientnet" and source:
        from cad_edge_training.backbones.efficientnet import load_efficientnet

        return load_efficientnet(source, size)
    if family == "clip" and source:
        from cad_edge_training.backbones.clip import load_clip

        return load_clip(source, size)
    if family == "dinov2" and source:
        from cad_edge_training.backbones.dinov2 import load_dinov2

        return load_dinov2(source, size)
    if name == "llava-small":
        from cad_edge_training.backbones.llava.small import load_small

        return load_small(size)
    if family == "llava" and source:
        from cad_edge_training.backbones.llava import load_llava

        return load_llava(source, size)
    raise OptionError(
        f"backbone {name!r} is unknown; take efficientnet-lite0, llava-small, efficientnet:ID, "
        "clip:ID, dinov2:ID or llava:ID, where ID is a hub id or a local folder"
    )
