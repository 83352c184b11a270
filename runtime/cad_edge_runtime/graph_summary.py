"""What a graph holds, and bounds on what it may hold."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class GraphLimits:
    """Bounds on what a graph may ask for."""

    file_bytes: int = (1 << 31) - 1
    """Of graph.onnx; protobuf itself ends at 2 GiB."""
    folder_bytes: int = 1 << 34
    """Of the graph and its external data."""
    elements: int = 1 << 31
    """Of one tensor, by the product of its dimensions."""
    nodes: int = 100_000
    """Of the graph and its subgraphs together."""
    depth: int = 8
    """Of subgraphs within subgraphs."""
    rank: int = 16
    opsets: range = range(17, 21)


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: TensorProto data type, and a name where a size varies."""

    name: str
    elem_type: int
    dims: tuple[int | str | None, ...]


@dataclass(frozen=True)
class ExternalData:
    """A tensor whose bytes lie in another file; ``elements`` is None if their size is unknown."""

    tensor: str
    location: str
    offset: int
    length: int | None


@dataclass
class GraphSummary:
    """What a model holds."""

    ir_version: int = 0
    opsets: dict[str, set[int]] = field(default_factory=dict)
    operators: set[tuple[str, str]] = field(default_factory=set)
    """(domain, type) of every node, in subgraphs and functions too."""
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    external: list[ExternalData] = field(default_factory=list)
    graphs: int = 0
    nodes: int = 0
    tensors: int = 0
    sparse_tensors: int = 0
    training: bool = False
