"""What a fusion offers: from a learned task of one method to graphs and the tensors bound to them.

A fusion is a module ``fusions.<method>`` whose ``FUSION`` satisfies `Fusion`. What only some can do
is a Protocol of its own, asked for by ``isinstance``.
"""

from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from cad_edge.errors import OptionError
from cad_edge.schema import Record
from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge_export.fused_task import FusedTask, ModulePrecision, StageModule
from cad_edge_export.language.explainer import ExplainerSource
from cad_edge_training.backbones import Backbone

Array = np.ndarray[Any, np.dtype[np.float32]]
C_contra = TypeVar("C_contra", bound=Record, contravariant=True)


@runtime_checkable
class Fusion(Protocol[C_contra]):
    """What every fusion has: a method's tasks in floating point, in both layouts."""

    def shared(
        self, task: LearnedTask, backbone: Backbone, precision: ModulePrecision
    ) -> FusedTask:
        """Fuse a task into graphs that all tasks of the method share, and tensors of its own."""
        ...

    def fused(self, task: LearnedTask, backbone: Backbone, precision: ModulePrecision) -> FusedTask:
        """Fuse a task into one graph that needs nothing beside it."""
        ...

    def entry(
        self, backbone: Backbone, config: C_contra, precision: ModulePrecision
    ) -> StageModule:
        """Return the first stage, from the image to what the selector and the tasks go on from."""
        ...


@runtime_checkable
class Quantisable(Protocol):
    """Can be exported in eight bits: its tensors follow what rounding does to the first stage."""

    def bias_corrected(
        self, fused: FusedTask, float_hidden: Array, quantised_hidden: Array
    ) -> Tensors:
        """Move the tensors of a task by the mean difference of its features.

        Parameters
        ----------
        fused
            The task in floating point.
        float_hidden, quantised_hidden
            (n, channels, h, w) float32, ``hidden`` of good parts before and after rounding.
        """
        ...


@runtime_checkable
class NamesLevels(Protocol):
    """Has engines that say which level of evidence a score rests on, by ``levels``.

    Their last stage gives it beside score and map, and ``level_maps`` where it has maps of them.
    """

    @property
    def level_names(self) -> tuple[str, ...]:
        """Names of the levels in the order of the engine's outputs, e.g. patch and global."""
        ...


@runtime_checkable
class Explains(Protocol):
    """Answers in words as well (``cad-edge explain``)."""

    def explained(
        self, task: LearnedTask, backbone: Backbone, precision: ModulePrecision
    ) -> ExplainerSource:
        """Return the engine, decoder and texts by which a task answers questions."""
        ...


def names_of_levels(fusion: Fusion[Any], fused: FusedTask) -> list[str]:
    """Name the levels that an engine gives, for its entry in the manifest; [] where it has none.

    Raises
    ------
    OptionError
        Two of them have one name, or one has none.
    """
    if not isinstance(fusion, NamesLevels) or "levels" not in fused.stages[-1].outputs:
        return []
    names = list(fusion.level_names)
    if not all(names) or len(set(names)) < len(names):
        raise OptionError(
            f"level_names of {type(fusion).__name__} are {', '.join(map(repr, names))}, and every "
            "level needs a name of its own; correct it"
        )
    return names
