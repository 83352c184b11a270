"""One file per method: from a learned task to graphs and the tensors bound to them."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cad_edge.errors import OptionError
from cad_edge.store.artifact import LearnedTask
from cad_edge_export.fused_task import FusedTask, ModulePrecision
from cad_edge_export.fusion import Fusion, Quantisable
from cad_edge_training.backbones import Backbone
from cad_edge_training.method import HasRouter
from cad_edge_training.methods import load_method

Fuse = Callable[[LearnedTask, Backbone, ModulePrecision], FusedTask]

FOLDER = Path(__file__).parent


def fusion_of(method: str) -> Fusion[Any]:
    """Import the fusion of a method.

    Raises
    ------
    OptionError
        There is none, or it lacks what `Fusion` asks for.
    """
    module, place = f"{__name__}.{method}", FOLDER / f"{method}.py"
    try:
        names = vars(importlib.import_module(module))
    except Exception as problem:  # whatever a file of Python may do wrong
        if isinstance(problem, ModuleNotFoundError) and problem.name == module:
            raise OptionError(
                f"method {method!r} has no fusion, so it cannot be exported; {place} is missing"
            ) from None
        raise OptionError(f"{place} cannot be read as a fusion: {problem}; correct it") from problem
    return read_fusion(names, place)


def read_fusion(names: Mapping[str, object], place: Path) -> Fusion[Any]:
    """Take FUSION from the names of a module; OptionError, with its ``place``, where it is none."""
    found = names.get("FUSION")
    if isinstance(found, Fusion):
        return found
    lacks = sorted({one for one in dir(Fusion) if not one.startswith("_")} - {*dir(found)})
    raise OptionError(f"{place}: FUSION has no {', '.join(lacks)}; docs/add-a-method.md says what")


def load_fusion(method: str, layout: str) -> Fuse:
    """Return ``shared`` or ``fused`` of `fusion_of`."""
    fusion = fusion_of(method)
    return fusion.fused if layout == "fused" else fusion.shared


def quantisable_fusion(method: str, asked: str = "eight bits") -> Quantisable:
    """Import a fusion that can be quantised; OptionError, with what was ``asked``, if it cannot."""
    fusion = fusion_of(method)
    if not isinstance(fusion, Quantisable):
        raise OptionError(
            f"{method} cannot be quantised, since its fusion has no bias_corrected; give "
            f"--precision fp32 or fp16 in place of {asked}"
        )
    return fusion


def method_with_router(method: str) -> HasRouter[Any]:
    """Import a method whose shared experts can be merged; OptionError where it has none."""
    found = load_method(method)
    if not isinstance(found, HasRouter):
        raise OptionError(
            f"{method} has no shared experts, so that there are none to merge; leave "
            "--merge-shared out"
        )
    return found


def require_capabilities(
    tasks: Sequence[LearnedTask], style: str | None, merge_shared: bool
) -> None:
    """Refuse what a method of ``tasks`` cannot do, before anything is made.

    ``style`` is that of eight bits, None in floating point.

    Raises
    ------
    OptionError
        A method is not here or has no fusion; or cannot be quantised, or has no router, where that
        is asked for.
    """
    for task in tasks:
        method = task.artifact.method
        load_method(method)
        fusion_of(method)
        # What shares weights between tasks is quantised row by row and needs nothing of its fusion.
        if style is not None and not task.evolves:
            quantisable_fusion(method, style)
        if merge_shared:
            method_with_router(method)
