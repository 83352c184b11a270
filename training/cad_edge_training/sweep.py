"""What of a method is worth trying when settings are chosen for a line."""

from collections.abc import Mapping

from cad_edge_training.method import Axis, Settings, Sweepable
from cad_edge_training.methods import load_method


def axes_of(method: str, backbone: str) -> tuple[Axis, ...]:
    """Axes of a method, none if it says nothing; raise OptionError for an unknown method."""
    found = load_method(method)
    return found.axes_for(backbone) if isinstance(found, Sweepable) else ()


def settings_of(method: str, backbone: str, values: Mapping[str, str]) -> Settings:
    """Give the settings for one value of each axis; an axis left out has its default."""
    found = load_method(method)
    return found.settings_for(backbone, values) if isinstance(found, Sweepable) else Settings()
