"""One folder per method; the registry is the listing of this folder.

A method folder holds ``method.py`` with ``METHOD``, which satisfies `Method` of
`cad_edge_training.method`, ``config.py`` (its options), ``model.py`` (the faithful form of the
paper's equations), ``learn.py`` (images of good parts to `LearningResult`) and a README.
docs/add-a-method.md walks through one.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cad_edge.errors import ArtifactError, OptionError
from cad_edge.schema import Record, first_problem

if TYPE_CHECKING:
    from cad_edge_training.method import Method

FOLDER = Path(__file__).parent


def method_names(folder: Path = FOLDER) -> list[str]:
    """Names of all methods.

    Raises
    ------
    OptionError
        Two have one name.
    """
    names = sorted(path.name for path in folder.iterdir() if any(path.glob("*.py")))
    for path in folder.glob("*.py"):
        if path.stem in names:
            raise OptionError(f"{path} and {folder / path.stem} are two methods of one name")
    return names


def default_method(backbone: str) -> str:
    """Name of the method that a backbone gets where none is said.

    The published prompts and texts belong to transformers; a convolutional trunk is judged best by
    its patches alone (README.md of ``patch_memory`` has the figures of both).
    """
    return "cmpmb" if backbone.startswith(("clip:", "dinov2:")) else "patch_memory"


def load_method(name: str) -> "Method[Any]":
    """Import a method.

    Raises
    ------
    OptionError
        There is none of this name, or its folder does not hold what `Method` asks for.
    """
    if name not in method_names():
        raise OptionError(f"method {name!r} is unknown; take one of {', '.join(method_names())}")
    module, place = f"{__name__}.{name}.method", FOLDER / name / "method.py"
    try:
        names = vars(importlib.import_module(module))
    except Exception as problem:  # whatever a file of Python may do wrong
        here = (module, module.removesuffix(".method"))
        if isinstance(problem, ModuleNotFoundError) and problem.name in here:
            raise OptionError(
                f"{place} is missing; it holds METHOD, as docs/add-a-method.md says"
            ) from None
        raise OptionError(f"{place} cannot be read as a method: {problem}; correct it") from problem
    return read_method(names, place)


def read_method(names: Mapping[str, object], place: Path) -> "Method[Any]":
    """Take METHOD from the names of a module; OptionError, with its ``place``, where it is none."""
    from cad_edge_training.method import Method

    found = names.get("METHOD")
    if isinstance(found, Method):
        return found
    lacks = sorted({one for one in dir(Method) if not one.startswith("_")} - {*dir(found)})
    raise OptionError(f"{place}: METHOD has no {', '.join(lacks)}; docs/add-a-method.md says what")


def saved_config(task: str, method: str, hyperparameters: Mapping[str, object]) -> Record:
    """Read the options that a task was learned with.

    Raises
    ------
    ArtifactError
        They are those of another version of the method.
    """
    try:
        config: Record = load_method(method).config.model_validate(hyperparameters)
    except ValidationError as problem:
        raise ArtifactError(
            f"task {task} was learned with options that {method} does not have "
            f"({first_problem(problem)}); learn it again with this version"
        ) from None
    return config
