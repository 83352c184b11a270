"""One folder per method; the registry is the listing of this folder.

A method folder holds ``config.py`` (`Config`: its options), ``model.py`` (the faithful form of the
paper's equations), ``learn.py`` (`learn`: images of good parts to `Learned`) and a README.
"""

import importlib
from pathlib import Path
from types import ModuleType

from cad_edge.errors import OptionError


def method_names() -> list[str]:
    """Names of all methods."""
    folder = Path(__file__).parent
    return sorted(path.parent.name for path in folder.glob("*/learn.py"))


def load_method(name: str, part: str) -> ModuleType:
    """Import ``config``, ``model`` or ``learn`` of a method; raise OptionError if unknown."""
    if name not in method_names():
        raise OptionError(f"method {name!r} is unknown; take one of {', '.join(method_names())}")
    return importlib.import_module(f"{__name__}.{name}.{part}")
