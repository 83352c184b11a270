"""Options that the published form does not have."""

from cad_edge.errors import OptionError
from cad_edge_training.methods.cdad.config import Config, defaults_for

EMBEDDED = (
    *("blocks", "channels", "shrinkage", "width", "inner_width", "convolutions", "initial"),
    *("prediction", "share", "jitter"),
)
"""Options of which this form has one value: its latents, its network and its score are given."""


def require_own(config: Config, backbone: str) -> None:
    """Raise OptionError where an option was given that this form does not have."""
    own = Config.model_validate(defaults_for(backbone))
    for name in EMBEDDED:
        if getattr(config, name) != getattr(own, name):
            raise OptionError(
                f"{name} is an option of cdad on other backbones: {backbone} brings its latents, "
                "its network and its scorer along; leave it out"
            )
