"""What an ONNX file holds, read without the `onnx` package and without copying its weights.

A model of this project is one graph of standard operators. Whatever else a model may hold, other
graphs within operators, functions, strings, sparse tensors, sequences, is refused where it is met;
where protobuf would let a later field override an earlier one, both count. Field numbers are those
of onnx.proto.
"""

import math
import struct
from collections.abc import Iterator

from cad_edge_runtime.graph_summary import (
    ELEMENT_TYPES,
    Attribute,
    GraphLimits,
    GraphSummary,
    Node,
    Port,
    Weight,
)
from cad_edge_runtime.onnx_tensor import elements, read_tensor
from cad_edge_runtime.protobuf import (
    BYTES,
    FIXED32,
    VARINT,
    Buffer,
    WireError,
    fields,
    integers,
    signed,
    text,
)

_MOST_NUMBERS = 1024
_NESTED = {6, 11}
_KINDS: dict[int, type] = {1: float, 2: int, 3: bytes, 4: Weight, 6: tuple, 7: tuple}
"""What an attribute holds, by AttributeProto.AttributeType."""
_STRANGE = {
    9: "strings",
    10: "tensors",
    14: "a type",
    15: "types",
    21: "a reference",
    22: "a sparse tensor",
    23: "sparse tensors",
}
"""Fields of an attribute that no operator of an engine has."""


def read_onnx(data: Buffer, limits: GraphLimits) -> GraphSummary:
    """Summarise an ONNX file; WireError if it is malformed or over ``limits``."""
    walk = _Walk(data, limits)
    try:
        walk.model(0, len(data))
    except IndexError:
        raise WireError(f"it breaks off at byte {len(data)}") from None
    return walk.summary


class _Walk:
    """One pass over one file."""

    def __init__(self, data: Buffer, limits: GraphLimits) -> None:
        self.data = data
        self.limits = limits
        self.summary = GraphSummary()

    def model(self, start: int, stop: int) -> None:
        found = self.summary
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == 1 and wire == VARINT:
                found.ir_version = begin
            elif wire != BYTES:
                continue
            elif number == 7:
                self.graph(begin, end)
            elif number == 8:
                self.opset(begin, end)
            elif number == 20:
                found.training = True
            elif number == 25:
                self.function(begin, end)

    def opset(self, start: int, stop: int) -> None:
        domain, version = "", 0
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == 1 and wire == BYTES:
                domain = text(self.data, begin, end)
            elif number == 2 and wire == VARINT:
                version = signed(begin)
        self.summary.opsets.setdefault(domain, set()).add(version)

    def function(self, start: int, stop: int) -> None:
        name = "without a name"
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == 1 and wire == BYTES:
                name = text(self.data, begin, end)
        self.summary.functions.append(name)

    def graph(self, start: int, stop: int) -> None:
        found = self.summary
        found.graphs += 1
        for number, wire, begin, end in fields(self.data, start, stop):
            if wire != BYTES:
                continue
            if number == 1:
                self.node(begin, end)
            elif number == 5:
                found.weights.append(self.tensor(begin, end))
            elif number == 15:
                raise WireError("it holds a sparse tensor")
            elif number == 11:
                found.inputs.append(self.port(begin, end))
            elif number == 12:
                found.outputs.append(self.port(begin, end))

    def node(self, start: int, stop: int) -> None:
        domains, kinds = [], []
        inputs, outputs = [], []
        attributes: dict[str, Attribute] = {}
        self.summary.nodes += 1
        if self.summary.nodes > self.limits.nodes:
            raise WireError(f"it has more than {self.limits.nodes} nodes")
        for number, wire, begin, end in fields(self.data, start, stop):
            if wire != BYTES:
                continue
            if number == 1:
                inputs.append(text(self.data, begin, end))
            elif number == 2:
                outputs.append(text(self.data, begin, end))
            elif number == 4:
                kinds.append(text(self.data, begin, end))
            elif number == 5:
                name, value = self.attribute(begin, end)
                if name in attributes:
                    raise WireError(f"an operator has the attribute {name[:80]!r} twice")
                if value is not None:
                    attributes[name] = value
            elif number == 7:
                domains.append(text(self.data, begin, end))
        kind = kinds[-1] if kinds else ""
        self.summary.operators.update((domain, kind) for domain in domains or [""])
        self.summary.body.append(Node(kind, tuple(inputs), tuple(outputs), attributes))

    def attribute(self, start: int, stop: int) -> tuple[str, Attribute | None]:
        """Name and value; a list that is written as one number after another is one list."""
        name = ""
        value: Attribute | None = None
        many: list[int] = []
        many_floats: list[float] = []
        kind = 0
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == 1 and wire == BYTES:
                name = text(self.data, begin, end)
            elif number in _NESTED:
                raise WireError("an operator holds a graph of its own, as loops and branches do")
            elif number in _STRANGE:
                raise WireError(
                    f"an operator has the attribute {name[:80]!r} with {_STRANGE[number]}"
                )
            elif number == 2 and wire == FIXED32:
                value = float(struct.unpack("<f", self.data[begin:end])[0])
            elif number == 3 and wire == VARINT:
                value = signed(begin)
            elif number == 4 and wire == BYTES:
                value = bytes(self.data[begin : min(end, begin + _MOST_NUMBERS)])
            elif number == 5 and wire == BYTES:
                value = self.tensor(begin, end)
            elif number == 20 and wire == VARINT:
                kind = begin
            elif number == 7 and wire in (BYTES, FIXED32):
                count = (end - begin) // 4
                many_floats += struct.unpack(f"<{count}f", self.data[begin : begin + 4 * count])
            elif number == 8 and wire in (BYTES, VARINT):
                many += integers(self.data, wire, begin, end)
            if max(len(many), len(many_floats)) > _MOST_NUMBERS:
                raise WireError(
                    f"an operator has the attribute {name[:80]!r} with too many numbers"
                )
        found: Attribute | None = tuple(many) or value
        found = tuple(many_floats) if many_floats and not many else found
        if kind and found is not None and not isinstance(found, _KINDS.get(kind, type(None))):
            raise WireError(f"an operator has the attribute {name[:80]!r} of another type")
        return name, found

    def tensor(self, start: int, stop: int) -> Weight:
        weight, external = read_tensor(self.data, start, stop, self.limits)
        self.summary.tensors += 1
        self.summary.external += external
        kind = ELEMENT_TYPES[weight.elem_type]
        self.summary.weight_bytes += math.prod(weight.dims) * kind.itemsize
        return weight

    def inside(self, start: int, stop: int, wanted: int) -> Iterator[tuple[int, int]]:
        """Bounds of every submessage with one field number."""
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == wanted and wire == BYTES:
                yield begin, end

    def port(self, start: int, stop: int) -> Port:
        name, kind = "", 0
        dims: list[int | str | None] = []
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == 1 and wire == BYTES:
                name = text(self.data, begin, end)
            elif number == 2 and wire == BYTES:
                for tensor in self.inside(begin, end, 1):
                    for part, form, value, last in fields(self.data, *tensor):
                        if part == 1 and form == VARINT:
                            kind = value
                        elif part == 2 and form == BYTES:
                            dims += [self.size(*span) for span in self.inside(value, last, 1)]
        fixed = [size for size in dims if isinstance(size, int)]
        elements(fixed, f"the port {name!r}", self.limits)
        return Port(name, kind, tuple(dims))

    def size(self, start: int, stop: int) -> int | str | None:
        found: int | str | None = None
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == 1 and wire == VARINT:
                found = signed(begin)
            elif number == 2 and wire == BYTES:
                found = text(self.data, begin, end)
        return found
