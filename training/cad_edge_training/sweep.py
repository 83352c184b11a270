"""What of a method is worth trying when settings are chosen for a line."""

from collections.abc import Mapping

from cad_edge_training.method import Axis, Settings, Sweepable
from cad_edge_training.methods import load_method

_OWN_SIZE = "own-size"
_RESOLUTION = Axis("resolution", (_OWN_SIZE, "128px", "160px", "192px", "256px", "320px"))
"""What is tried of a method that names nothing itself."""


def axes_of(method: str, backbone: str) -> tuple[Axis, ...]:
    """Axes of a method, the resolution if it names none; OptionError for an unknown method."""
    found = load_method(method)
    return found.axes_for(backbone) if isinstance(found, Sweepable) else (_RESOLUTION,)


def settings_of(method: str, backbone: str, values: Mapping[str, str]) -> Settings:
    """Give the settings for one value of each axis; an axis left out has its default."""
    found = load_method(method)
    if isinstance(found, Sweepable):
        return found.settings_for(backbone, values)
    size = values.get(_RESOLUTION.name, _OWN_SIZE)
    return Settings(None if size == _OWN_SIZE else int(size.removesuffix("px")))
