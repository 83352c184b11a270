"""Frozen pretrained networks that methods draw features from.

`load_backbone` gives one by name; its identity (id and sha256 of all weights) goes into every
artifact, so that an artifact never meets features of another network. A further one is a file below
``loaders``. Names come without torch; `Backbone` and `weights_sha256` import it when asked for.
"""

from typing import TYPE_CHECKING, Any

from cad_edge_training.backbones.loader import backbone_names, load_by_name

if TYPE_CHECKING:
    from cad_edge_training.backbones.backbone import Backbone, weights_sha256

__all__ = ["DEFAULT_BACKBONE", "Backbone", "backbone_names", "load_backbone", "weights_sha256"]

DEFAULT_BACKBONE = "efficientnet-lite0"


def load_backbone(name: str, size: int | None = None) -> "Backbone":
    """Load a frozen backbone.

    Parameters
    ----------
    name
        One of `backbone_names`, where ID is a hub id or a local folder that transformers can read.
    size
        Input side in pixels; the backbone's own default if None.

    Raises
    ------
    OptionError
        The name is not one of these, or its weights cannot be found.
    """
    return load_by_name(name, size)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of the imports above
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cad_edge_training.backbones import backbone

    return getattr(backbone, name)
