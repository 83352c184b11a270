"""What of a method is worth trying when settings are chosen for a line.

A method that has something to try has a file ``sweep.py`` in its folder with two functions:

* ``axes_for(backbone)`` gives its axes, a tuple of `Axis`;
* ``settings_for(backbone, values)`` turns one value of each axis into `Settings`; an axis that
  ``values`` lacks has its default.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

from cad_edge_training.methods import load_method


@dataclass(frozen=True)
class Axis:
    """One thing that is varied; a value is a word without space, comma or equals sign."""

    name: str
    values: tuple[str, ...]
    """The default first."""

    @property
    def default(self) -> str:
        """Value of the default configuration."""
        return self.values[0]


@dataclass(frozen=True)
class Settings:
    """What `cad-edge train` is given beyond its defaults."""

    size: int | None = None
    """Input side in pixels; None for the backbone's own."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the method as NAME: VALUE, only those that differ from the defaults."""


def axes_of(method: str, backbone: str) -> tuple[Axis, ...]:
    """Axes of a method, none if it says nothing; raise OptionError for an unknown method."""
    module = _sweep(method)
    axes: tuple[Axis, ...] = () if module is None else module.axes_for(backbone)
    return axes


def settings_of(method: str, backbone: str, values: Mapping[str, str]) -> Settings:
    """Give the settings for one value of each axis; an axis left out has its default."""
    module = _sweep(method)
    settings: Settings = Settings() if module is None else module.settings_for(backbone, values)
    return settings


def _sweep(method: str) -> ModuleType | None:
    folder = load_method(method, "config").__name__.rpartition(".")[0]
    if importlib.util.find_spec(f"{folder}.sweep") is None:
        return None
    return load_method(method, "sweep")
