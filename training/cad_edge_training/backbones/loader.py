"""How backbones are found: one file per name below ``loaders``, read when one is asked for.

Neither this nor the loaders import torch, so that a help text names all of them at once.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from cad_edge.errors import OptionError

if TYPE_CHECKING:
    from cad_edge_training.backbones.backbone import Backbone

FOLDER = Path(__file__).parent / "loaders"


@dataclass(frozen=True)
class BackboneLoader:
    """How to load the backbones of one name; a file below ``loaders`` holds one as ``LOADER``."""

    load: "Callable[[str, int | None], Backbone]"
    """Called with the ID, "" of an embedded one, and the input side in pixels, None for its own."""
    takes_id: bool
    """Whether the user writes ``NAME:ID`` with a hub id or a folder; if not, it is embedded."""


def backbone_names(folder: Path = FOLDER) -> list[str]:
    """Names as users write them, embedded ones first: ``efficientnet-lite0``, ..., ``clip:ID``.

    Raises
    ------
    OptionError
        A file holds no loader, or two files are of one name.
    """
    loaders = {name: loader_in(path) for name, path in _files(folder).items()}
    embedded = [name for name, loader in loaders.items() if not loader.takes_id]
    return embedded + [f"{name}:ID" for name, loader in loaders.items() if loader.takes_id]


def _files(folder: Path) -> dict[str, Path]:
    """Files of loaders by the name of their backbone; OptionError where two have one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("[!_]*.py")):
        name = path.stem.replace("_", "-").lower()
        if (other := found.setdefault(name, path)) != path:
            raise OptionError(f"{other} and {path} are two backbones of one name; keep one of them")
    return found


def loader_in(path: Path) -> BackboneLoader:
    """Import a file below ``loaders``; OptionError, with its name, where that fails."""
    try:
        loader = vars(_module_at(path)).get("LOADER")
    except Exception as problem:  # whatever a file of Python may do wrong
        raise OptionError(f"{path} cannot be read as a backbone's loader: {problem}") from None
    if not isinstance(loader, BackboneLoader):
        raise OptionError(f"{path} holds no LOADER; give it a BackboneLoader, as the others have")
    if not callable(loader.load) or not isinstance(loader.takes_id, bool):
        raise OptionError(f"{path}: LOADER needs a function to load by, and True or False")
    return loader


def _module_at(path: Path) -> ModuleType:
    if path.parent == FOLDER:
        package = __name__.rpartition(".")[0]
        return importlib.import_module(f"{package}.loaders.{path.stem}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_by_name(name: str, size: int | None) -> "Backbone":
    """Load a backbone; see `cad_edge_training.backbones.load_backbone`."""
    kind, colon, source = name.partition(":")
    if (path := _files(FOLDER).get(kind)) is not None:
        loader = loader_in(path)
        if loader.takes_id == bool(source) and bool(colon) == bool(source):
            return loader.load(source, size)
    *names, last = backbone_names()
    raise OptionError(
        f"backbone {name!r} is unknown; take {', '.join(names)} or {last}, where ID is a hub id or "
        "a local folder"
    )
