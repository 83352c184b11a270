"""Tensors of an ONNX file: shape, type and where the bytes are; small ones with their values.

A tensor states its size, and a reader makes room for it before it looks for the bytes. So every
tensor must have as many bytes as its shape needs, in the file or in one beside it.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from cad_edge_runtime.graph_summary import (
    ELEMENT_TYPES,
    ExternalData,
    GraphLimits,
    Values,
    Weight,
)
from cad_edge_runtime.protobuf import (
    BYTES,
    VARINT,
    Buffer,
    WireError,
    fields,
    integers,
    text,
)

SMALL = 1024
"""Elements of the largest tensor whose values are kept: shapes, axes and steps."""

_INT32 = 0xFFFF_FFFF
"""Enumerations are read as 32 bits by the other readers, whatever the varint holds."""

_NUMBERS = {4: 4, 5: 0, 7: 0, 10: 8, 11: 0}
"""Fields that hold values one by one, with their bytes; 0 for varints."""


@dataclass
class _Found:
    """What the fields of one tensor say."""

    name: str = ""
    kind: int = 0
    dims: list[int] = field(default_factory=list)
    raw: tuple[int, int] | None = None
    typed: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    entries: list[tuple[str, str]] = field(default_factory=list)
    outside: bool = False
    segment: bool = False
    strings: bool = False


def read_tensor(
    data: Buffer, start: int, stop: int, limits: GraphLimits
) -> tuple[Weight, list[ExternalData]]:
    """Read a TensorProto; WireError where it cannot be what an engine has."""
    found = _fields_of(data, start, stop)
    what = f"the tensor {found.name[:80]!r}"
    count = elements(found.dims, what, limits)
    kind = ELEMENT_TYPES.get(found.kind)
    if kind is None or found.strings or found.segment:
        raise WireError(f"{what} is of a type that no engine has ({found.kind})")
    size = count * kind.itemsize
    values: Values | None = None
    external: list[ExternalData] = []
    if found.outside or found.entries:
        external = _external(found.name, found.entries, size)
    elif found.raw is not None:
        begin, end = found.raw
        if end - begin != size:
            raise WireError(f"{what} has {end - begin} bytes where its shape needs {size}")
        if count <= SMALL:
            values = np.frombuffer(data[begin:end], kind).reshape(found.dims)
    else:
        values = _one_by_one(data, found, count, what)
    return Weight(found.name, found.kind, tuple(found.dims), values), external


def _fields_of(data: Buffer, start: int, stop: int) -> _Found:
    found = _Found()
    for number, wire, begin, end in fields(data, start, stop):
        if number == 1 and wire in (BYTES, VARINT):
            found.dims += integers(data, wire, begin, end)
        elif number == 2 and wire == VARINT:
            found.kind = begin & _INT32
        elif number == 3:
            found.segment = True
        elif number == 6:
            found.strings = True
        elif number in _NUMBERS:
            found.typed.setdefault(number, []).append((wire, begin, end))
        elif number == 8 and wire == BYTES:
            found.name = text(data, begin, end)
        elif number == 9 and wire == BYTES:
            found.raw = begin, end
        elif number == 13 and wire == BYTES:
            found.entries.append(_entry(data, begin, end))
        elif number == 14 and wire == VARINT:
            found.outside = found.outside or begin & _INT32 == 1
    return found


def elements(dims: list[int], what: str, limits: GraphLimits) -> int:
    """Product of the dimensions, refused if negative or over the limit."""
    if len(dims) > limits.rank or (dims and min(dims) < 0):
        raise WireError(f"{what} has impossible dimensions")
    # A zero must not hide the size of the others.
    if math.prod(filter(None, dims)) > limits.elements:
        raise WireError(f"{what} asks for more than {limits.elements} elements")
    return math.prod(dims)


def _one_by_one(data: Buffer, found: _Found, count: int, what: str) -> Values | None:
    """Values that stand in a field of their type, as other writers put them."""
    given = 0
    values: list[int] = []
    for number, parts in found.typed.items():
        width = _NUMBERS[number]
        for wire, begin, end in parts:
            if wire not in (BYTES, VARINT):
                given += 1
            elif wire == BYTES and (width or count > SMALL):
                given += (end - begin) // (width or 1)  # a varint has a byte at least
            else:
                got = integers(data, wire, begin, end)
                given += len(got)
                values += got
    if given < count:
        raise WireError(f"{what} has {given} values where its shape needs {count}")
    kind = ELEMENT_TYPES[found.kind]
    if len(values) != count or not np.issubdtype(kind, np.integer):
        return None
    limits = np.iinfo(kind)
    if values and not limits.min <= min(values) <= max(values) <= limits.max:
        raise WireError(f"{what} has values that its type does not hold")
    return np.array(values, kind).reshape(found.dims)


def _entry(data: Buffer, start: int, stop: int) -> tuple[str, str]:
    key = value = ""
    for number, wire, begin, end in fields(data, start, stop):
        if number == 1 and wire == BYTES:
            key = text(data, begin, end)
        elif number == 2 and wire == BYTES:
            value = text(data, begin, end)
    return key, value


def _external(name: str, entries: list[tuple[str, str]], size: int) -> list[ExternalData]:
    numbers = {"offset": 0, "length": -1}
    for key, value in entries:
        if key in numbers:
            if not (value.isascii() and value.isdigit() and len(value) < 16):
                raise WireError(f"the tensor {name[:80]!r} has the external {key} {value[:40]!r}")
            numbers[key] = int(value)
    length = numbers["length"] if numbers["length"] >= 0 else size
    if length != size:
        raise WireError(f"the tensor {name[:80]!r} has {length} bytes where its shape needs {size}")
    locations = [value for key, value in entries if key == "location"]
    return [
        ExternalData(name, location, numbers["offset"], length) for location in locations or [""]
    ]
