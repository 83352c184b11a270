"""One file per method: from a learned task to graphs and the tensors bound to them."""

import importlib
from collections.abc import Callable
from types import ModuleType

from cad_edge.errors import OptionError
from cad_edge.store.artifact import LearnedTask
from cad_edge_export.fused_task import FusedTask, ModulePrecision
from cad_edge_training.backbones import Backbone

Fusion = Callable[[LearnedTask, Backbone, ModulePrecision], FusedTask]


def fusion_of(method: str) -> ModuleType:
    """Import ``fusions/<method>.py``; raise OptionError if missing."""
    try:
        return importlib.import_module(f"{__name__}.{method}")
    except ModuleNotFoundError:
        raise OptionError(f"method {method!r} has no fusion, so it cannot be exported") from None


def load_fusion(method: str, layout: str) -> Fusion:
    """Return ``shared`` or ``fused`` of `fusion_of`."""
    fusion: Fusion = getattr(fusion_of(method), layout)
    return fusion
