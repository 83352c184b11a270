"""One folder per method; the registry is the listing of this folder.

A method folder holds ``config.py`` (`Config`: its options), ``model.py`` (the faithful form of the
paper's equations), ``learn.py`` (`learn`: images of good parts to `Learned`) and a README.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from cad_edge.errors import ArtifactError, OptionError
from cad_edge.schema import Record, first_problem


def method_names() -> list[str]:
    """Names of all methods."""
    folder = Path(__file__).parent
    return sorted(path.parent.name for path in folder.glob("*/learn.py"))


def default_method(backbone: str) -> str:
    """Name of the method that a backbone gets where none is said.

    The published prompts and texts belong to transformers; a convolutional trunk is judged best by
    its patches alone (README.md of ``patch_memory`` has the figures of both).
    """
    return "cmpmb" if backbone.startswith(("clip:", "dinov2:")) else "patch_memory"


def load_method(name: str, part: str) -> ModuleType:
    """Import ``config``, ``model`` or ``learn`` of a method; raise OptionError if unknown."""
    if name not in method_names():
        raise OptionError(f"method {name!r} is unknown; take one of {', '.join(method_names())}")
    return importlib.import_module(f"{__name__}.{name}.{part}")


def saved_config(task: str, method: str, hyperparameters: Mapping[str, object]) -> Record:
    """Read the options that a task was learned with.

    Raises
    ------
    ArtifactError
        They are those of another version of the method.
    """
    try:
        config: Record = load_method(method, "config").Config.model_validate(hyperparameters)
    except ValidationError as problem:
        raise ArtifactError(
            f"task {task} was learned with options that {method} does not have "
            f"({first_problem(problem)}); learn it again with this version"
        ) from None
    return config
