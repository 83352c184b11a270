"""What a fusion hands to the exporter: modules whose inputs have names and sources."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from cad_edge.store.artifact import Tensors

Array = np.ndarray[Any, np.dtype[Any]]

ModulePrecision = Literal["fp32", "fp16"]
"""Of the modules that torch exports; eight-bit quantisers are placed in their float32 graphs."""


@dataclass(frozen=True)
class GraphInput:
    """One input of a graph."""

    name: str
    source: str
    """As in cad_edge.store.manifest: frame/image, tensor/<name>, <k>/<output> or loop/<name>."""
    example: Tensor
    """A value of the right dtype and shape; the batch axis has two entries."""
    dynamic: tuple[int, ...] = ()
    """Axes whose size varies from run to run; axis 0 of a frame or stage output is the batch."""
    sizes: Mapping[int, str] = field(default_factory=dict)
    """Further such axes, with a name for the size; sizes of one name are equal."""
    views: int = 1
    """Rows of every frame along the batch, where a stage sees all views of a frame together."""


@dataclass(frozen=True)
class StageModule:
    """One stage: a module whose forward takes the inputs in order and returns the outputs."""

    module: nn.Module
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    shared_key: str | None = None
    """Equal keys mean equal graphs, so that one export serves many tasks; None: this task's own."""


@dataclass(frozen=True)
class FusedTask:
    """The fast form of one task."""

    stages: tuple[StageModule, ...]
    tensors: Tensors = field(default_factory=dict)
    """Of this task alone."""
    joint: tuple[Tensors, ...] = ()
    """An object each, which other tasks name too; as ``Engine.joint`` of the manifest."""
    views: int = 1
    """Images of a frame, which come to the first stage as so many rows of ``frame/image``."""

    def bound(self) -> Tensors:
        """Every tensor as the graphs get it, joint ones concatenated along the first axis."""
        parts: dict[str, list[Array]] = {}
        for tensors in self.joint:
            for name, value in tensors.items():
                parts.setdefault(name, []).append(value)
        joined = {
            name: values[0] if len(values) == 1 else np.concatenate(values)
            for name, values in parts.items()
        }
        return joined | self.tensors
