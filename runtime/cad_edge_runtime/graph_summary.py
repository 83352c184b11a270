"""What a graph holds, and bounds on what it may hold."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Values: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# TensorProto.DataType
FLOAT, UINT8, INT8, INT32, INT64, BOOL, HALF = 1, 2, 3, 6, 7, 9, 10
ELEMENT_TYPES: dict[int, np.dtype[Any]] = {
    FLOAT: np.dtype(np.float32),
    UINT8: np.dtype(np.uint8),
    INT8: np.dtype(np.int8),
    INT32: np.dtype(np.int32),
    INT64: np.dtype(np.int64),
    BOOL: np.dtype(np.bool_),
    HALF: np.dtype(np.float16),
}
"""Of every tensor that an engine of this project has; strings and others are refused."""


@dataclass(frozen=True)
class GraphLimits:
    """Bounds on what a graph may ask for.

    Memory and multiplications are those of one frame, and of the tokens that a dialogue can have. A
    graph with more weights, or a larger frame, may ask for more.
    """

    file_bytes: int = (1 << 31) - 1
    """Of graph.onnx; protobuf itself ends at 2 GiB."""
    folder_bytes: int = 1 << 34
    """Of the graph and its external data."""
    elements: int = 1 << 31
    """Of one tensor, by the product of its dimensions."""
    nodes: int = 30_000
    rank: int = 8
    opsets: range = range(17, 21)
    ir_versions: range = range(8, 12)
    memory: int = 1 << 29
    """Bytes of all values that are alive at once, in a graph of few weights."""
    memory_by_weights: int = 4
    """Bytes of values for each byte of weights and bound tensors."""
    memory_by_pixels: int = 64
    """Bytes of values for each number of the frame."""
    products: int = 1 << 34
    """Multiplications in a graph of few weights."""
    products_by_numbers: int = 1 << 16
    """Multiplications for each number in the weights, the bound tensors and the frame."""
    map_side: int = 4096
    """Height and width of an anomaly map."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: TensorProto data type, and a name where a size varies."""

    name: str
    elem_type: int
    dims: tuple[int | str | None, ...]


@dataclass(frozen=True)
class ExternalData:
    """A tensor whose bytes lie in another file."""

    tensor: str
    location: str
    offset: int
    length: int


@dataclass(frozen=True)
class Weight:
    """A constant tensor; ``values`` is None where it is too large to be a shape, or elsewhere."""

    name: str
    elem_type: int
    dims: tuple[int, ...]
    values: Values | None


Attribute: TypeAlias = int | float | bytes | tuple[int, ...] | tuple[float, ...] | Weight


@dataclass(frozen=True)
class Node:
    """One operation; an input that is left out has the name ''."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]

    def integer(self, name: str, default: int) -> int:
        """Value of an attribute that is one whole number."""
        found = self.attributes.get(name, default)
        return found if isinstance(found, int) else default

    def integers(self, name: str) -> tuple[int, ...] | None:
        """Value of an attribute that is a list of whole numbers; None where it is left out."""
        found = self.attributes.get(name)
        if not isinstance(found, tuple):
            return None
        return tuple(int(value) for value in found)

    def word(self, name: str, default: str) -> str:
        """Value of an attribute that is a word."""
        found = self.attributes.get(name)
        return found.decode("ascii", "replace") if isinstance(found, bytes) else default


@dataclass
class GraphSummary:
    """What a model holds."""

    ir_version: int = 0
    opsets: dict[str, set[int]] = field(default_factory=dict)
    operators: set[tuple[str, str]] = field(default_factory=set)
    """(domain, type) of every node."""
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    external: list[ExternalData] = field(default_factory=list)
    body: list[Node] = field(default_factory=list)
    """In the order of the file."""
    weights: list[Weight] = field(default_factory=list)
    graphs: int = 0
    nodes: int = 0
    tensors: int = 0
    weight_bytes: int = 0
    training: bool = False
