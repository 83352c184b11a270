"""What an ONNX file holds, read without the `onnx` package and without copying its weights.

Every part of a model in which an operator, a subgraph or a reference to another file can hide is
walked; where protobuf would let a later field override an earlier one, both count. Field numbers
are those of onnx.proto.
"""

import math
import re
from collections.abc import Iterator

from cad_edge_runtime.graph_summary import ExternalData, GraphLimits, GraphSummary, Port
from cad_edge_runtime.protobuf import (
    BYTES,
    VARINT,
    Buffer,
    WireError,
    fields,
    integers,
    signed,
    text,
)

# Bytes per element of TensorProto.DataType; string, 4-bit and later types are left out.
ELEMENT_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}
ELEMENT_BYTES |= {12: 4, 13: 8, 14: 8, 15: 16, 16: 2, 17: 1, 18: 1, 19: 1, 20: 1}
# First byte of the key of every field of AttributeProto that can hold a tensor or graph, overlong
# forms included. An attribute without such a byte (nearly all are numbers) need not be parsed,
# which makes the walk three times as fast.
_NESTING = re.compile(rb"[\x2a\x32\x52\x5a\xaa\xb2\xba\xd2\xda]")

_INT32 = 0xFFFF_FFFF
"""Enumerations are read as 32 bits by the other readers, whatever the varint holds."""


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
                self.graph(begin, end, 0)
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
            if wire != BYTES:
                continue
            if number == 1:
                name = text(self.data, begin, end)
            elif number == 7:
                self.node(begin, end, 0)
            elif number == 11:
                self.attribute(begin, end, 0)
        self.summary.functions.append(name)

    def graph(self, start: int, stop: int, depth: int) -> None:
        if depth > self.limits.depth:
            raise WireError(f"its subgraphs are nested more than {self.limits.depth} deep")
        found = self.summary
        found.graphs += 1
        for number, wire, begin, end in fields(self.data, start, stop):
            if wire != BYTES:
                continue
            if number == 1:
                self.node(begin, end, depth)
            elif number == 5:
                self.tensor(begin, end)
            elif number == 15:
                self.sparse_tensor(begin, end)
            elif number == 11 and depth == 0:
                found.inputs.append(self.port(begin, end))
            elif number == 12 and depth == 0:
                found.outputs.append(self.port(begin, end))

    def node(self, start: int, stop: int, depth: int) -> None:
        domains, kinds = [], []
        self.summary.nodes += 1
        if self.summary.nodes > self.limits.nodes:
            raise WireError(f"it has more than {self.limits.nodes} nodes")
        for number, wire, begin, end in fields(self.data, start, stop):
            if wire != BYTES:
                continue
            if number == 4:
                kinds.append(text(self.data, begin, end))
            elif number == 5:
                self.attribute(begin, end, depth)
            elif number == 7:
                domains.append(text(self.data, begin, end))
        kind = kinds[-1] if kinds else ""
        self.summary.operators.update((domain, kind) for domain in domains or [""])

    def attribute(self, start: int, stop: int, depth: int) -> None:
        if _NESTING.search(self.data, start, stop) is None:
            return
        for number, wire, begin, end in fields(self.data, start, stop):
            if wire != BYTES:
                continue
            if number == 5 or number == 10:
                self.tensor(begin, end)
            elif number == 6 or number == 11:
                self.graph(begin, end, depth + 1)
            elif number == 22 or number == 23:
                self.sparse_tensor(begin, end)

    def sparse_tensor(self, start: int, stop: int) -> None:
        self.summary.sparse_tensors += 1
        for number, wire, begin, end in fields(self.data, start, stop):
            if number <= 2 and wire == BYTES:
                self.tensor(begin, end)
            elif number == 3:
                self.elements(integers(self.data, wire, begin, end), "a sparse tensor")

    def tensor(self, start: int, stop: int) -> None:
        name, kind, raw = "", 0, None
        dims: list[int] = []
        entries: list[tuple[str, str]] = []
        outside = False
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == 1 and wire in (BYTES, VARINT):
                dims += integers(self.data, wire, begin, end)
            elif number == 2 and wire == VARINT:
                kind = begin & _INT32
            elif number == 8 and wire == BYTES:
                name = text(self.data, begin, end)
            elif number == 9 and wire == BYTES:
                raw = end - begin
            elif number == 13 and wire == BYTES:
                entries.append(self.entry(begin, end))
            elif number == 14 and wire == VARINT:
                outside = outside or begin & _INT32 == 1
        self.summary.tensors += 1
        size = self.elements(dims, f"the tensor {name!r}") * ELEMENT_BYTES.get(kind, 0)
        if outside or entries:
            self.summary.external += _external(name, entries, size or None)
        elif raw is not None and kind in ELEMENT_BYTES and raw != size:
            raise WireError(f"the tensor {name!r} has {raw} bytes where its shape needs {size}")

    def elements(self, dims: list[int], what: str) -> int:
        """Product of the dimensions, refused if negative or over the limit."""
        if len(dims) > self.limits.rank or (dims and min(dims) < 0):
            raise WireError(f"{what} has impossible dimensions")
        # A zero must not hide the size of the others.
        if math.prod(filter(None, dims)) > self.limits.elements:
            raise WireError(f"{what} asks for more than {self.limits.elements} elements")
        return math.prod(dims)

    def entry(self, start: int, stop: int) -> tuple[str, str]:
        key = value = ""
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == 1 and wire == BYTES:
                key = text(self.data, begin, end)
            elif number == 2 and wire == BYTES:
                value = text(self.data, begin, end)
        return key, value

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
        self.elements(fixed, f"the port {name!r}")
        return Port(name, kind, tuple(dims))

    def size(self, start: int, stop: int) -> int | str | None:
        found: int | str | None = None
        for number, wire, begin, end in fields(self.data, start, stop):
            if number == 1 and wire == VARINT:
                found = signed(begin)
            elif number == 2 and wire == BYTES:
                found = text(self.data, begin, end)
        return found


def _external(name: str, entries: list[tuple[str, str]], size: int | None) -> list[ExternalData]:
    numbers = {"offset": 0, "length": -1}
    for key, value in entries:
        if key in numbers:
            if not (value.isascii() and value.isdigit() and len(value) < 16):
                raise WireError(f"the tensor {name!r} has the external {key} {value!r}")
            numbers[key] = int(value)
    length = numbers["length"] if numbers["length"] >= 0 else size
    if size is not None and length != size:
        raise WireError(f"the tensor {name!r} has {length} bytes where its shape needs {size}")
    locations = [value for key, value in entries if key == "location"]
    return [
        ExternalData(name, location, numbers["offset"], length) for location in locations or [""]
    ]
