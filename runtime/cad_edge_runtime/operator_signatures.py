"""Signatures: how many inputs an operator has, its attributes, and what types go together.

ONNX Runtime refuses a graph for each of these while it loads. `cad-edge verify` has no ONNX Runtime
and refuses the same. The figures are those of the ONNX standard, opset 17 to 20.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cad_edge_runtime.graph_summary import (
    BOOL,
    FLOAT,
    HALF,
    INT8,
    INT32,
    INT64,
    UINT8,
    Attribute,
    Node,
    Weight,
)
from cad_edge_runtime.operator_shapes import Given
from cad_edge_runtime.protobuf import WireError

_FLOATS = frozenset({FLOAT, HALF})
_WHOLE = frozenset({INT32, INT64})
_NUMBERS = _FLOATS | _WHOLE | {UINT8, INT8}
_ANY = _NUMBERS | {BOOL}
_INT64_ALONE = frozenset({INT64})
_OPSET_OF_AXES = 18  # from which on reductions take their axes as an input


@dataclass(frozen=True)
class Signature:
    """What an operator takes."""

    least: int
    """Inputs."""
    most: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Name and letter of the type: i, f, s, t, or I and F for lists."""
    types: frozenset[int] = _ANY
    """Of the first input."""
    alike: int = 1
    """So many first inputs are of one type."""
    others: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Types of further inputs, by place."""
    outputs: int = 1
    """At most."""


_AXIS, _KEPT = {"axis": "i"}, {"keepdims": "i"}
_WINDOW = {"kernel_shape": "I", "strides": "I", "pads": "I", "dilations": "I", "auto_pad": "s"}
_SIZES = dict.fromkeys((1, 2, 3, 4), _INT64_ALONE)
_REDUCED = {**_KEPT, "axes": "I", "noop_with_empty_axes": "i"}
_LINEAR = {1: _FLOATS, 2: frozenset({UINT8, INT8, INT32})}

SIGNATURES: Mapping[str, Signature] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), Signature(2, 2, {}, _NUMBERS, alike=2)),
    **dict.fromkeys(("Max", "Min"), Signature(1, 16, {}, _NUMBERS, alike=16)),
    **dict.fromkeys(
        ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        Signature(2, 2, {}, _ANY, alike=2),
    ),
    **dict.fromkeys(
        ("Cos", "Erf", "Exp", "Log", "Reciprocal", "Sigmoid", "Sin", "Sqrt", "Tanh"),
        Signature(1, 1, {}, _FLOATS),
    ),
    **dict.fromkeys(("Abs", "Neg", "Relu"), Signature(1, 1, {}, _NUMBERS)),
    **dict.fromkeys(
        ("ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
        Signature(1, 2, _REDUCED, _NUMBERS, others=_SIZES),
    ),
    "ArgMax": Signature(1, 1, {**_AXIS, **_KEPT, "select_last_index": "i"}, _NUMBERS),
    "AveragePool": Signature(
        1, 1, {**_WINDOW, "ceil_mode": "i", "count_include_pad": "i"}, _FLOATS
    ),
    "Cast": Signature(1, 1, {"to": "i", "saturate": "i"}),
    "Clip": Signature(1, 3, {}, _NUMBERS, alike=3),
    "Concat": Signature(1, 1 << 12, _AXIS, alike=1 << 12),
    "Constant": Signature(
        0,
        0,
        {
            "value": "t",
            "value_int": "i",
            "value_ints": "I",
            "value_float": "f",
            "value_floats": "F",
        },
    ),
    "Conv": Signature(2, 3, {**_WINDOW, "group": "i"}, _FLOATS, alike=3),
    "DequantizeLinear": Signature(2, 3, _AXIS, frozenset({UINT8, INT8, INT32}), others=_LINEAR),
    "Expand": Signature(2, 2, {}, others=_SIZES),
    "Flatten": Signature(1, 1, _AXIS),
    "Gather": Signature(2, 2, _AXIS, others={1: _WHOLE}),
    "Gemm": Signature(
        2, 3, {"alpha": "f", "beta": "f", "transA": "i", "transB": "i"}, _FLOATS, alike=3
    ),
    "Identity": Signature(1, 1),
    "LayerNormalization": Signature(
        2, 3, {**_AXIS, "epsilon": "f", "stash_type": "i"}, _FLOATS, alike=3, outputs=3
    ),
    "MatMul": Signature(2, 2, {}, _FLOATS | _WHOLE, alike=2),
    "MatMulInteger": Signature(
        2, 4, {}, frozenset({UINT8, INT8}), others={1: frozenset({UINT8, INT8})}
    ),
    "Pad": Signature(2, 4, {"mode": "s"}, others={1: _INT64_ALONE, 3: _WHOLE}),
    "Pow": Signature(2, 2, {}, _FLOATS | _WHOLE, others={1: _NUMBERS}),
    "QuantizeLinear": Signature(
        2, 3, {**_AXIS, "saturate": "i"}, _FLOATS | {INT32}, others=_LINEAR
    ),
    "Range": Signature(3, 3, {}, _FLOATS | _WHOLE, alike=3),
    "ReduceSum": Signature(1, 2, {**_KEPT, "noop_with_empty_axes": "i"}, _NUMBERS, others=_SIZES),
    "Reshape": Signature(2, 2, {"allowzero": "i"}, others=_SIZES),
    "Shape": Signature(1, 1, {"start": "i", "end": "i"}),
    "Slice": Signature(3, 5, {}, others=dict.fromkeys((1, 2, 3, 4), _WHOLE)),
    "Softmax": Signature(1, 1, _AXIS, _FLOATS),
    "Split": Signature(1, 2, {**_AXIS, "num_outputs": "i"}, others=_SIZES, outputs=1 << 12),
    "Squeeze": Signature(1, 2, {}, others=_SIZES),
    "TopK": Signature(
        2, 2, {**_AXIS, "largest": "i", "sorted": "i"}, _NUMBERS, others=_SIZES, outputs=2
    ),
    "Transpose": Signature(1, 1, {"perm": "I"}),
    "Unsqueeze": Signature(2, 2, {}, others=_SIZES),
    "Where": Signature(3, 3, {}, frozenset({BOOL})),
}


def require_signature(node: Node, opset: int) -> None:
    """Raise WireError for another number of inputs or outputs, or an attribute that is none."""
    known = SIGNATURES[node.kind]
    if not known.least <= len(node.inputs) <= known.most:
        raise WireError(f"its {node.kind} has {len(node.inputs)} inputs")
    if not 1 <= len(node.outputs) <= known.outputs or not node.outputs[0]:
        raise WireError(f"its {node.kind} has {len(node.outputs)} outputs")
    for name, value in node.attributes.items():
        if known.attributes.get(name) != letter_of(value):
            raise WireError(f"its {node.kind} has no such attribute {name[:80]!r}")
    if node.kind.startswith("Reduce") and node.kind != "ReduceSum":
        early = "axes" in node.attributes
        if (early and opset >= _OPSET_OF_AXES) or (len(node.inputs) > 1 and opset < _OPSET_OF_AXES):
            raise WireError(f"its {node.kind} takes axes otherwise than opset {opset} does")
    if node.kind in ("Concat", "Cast") and not node.attributes.keys() & {"axis", "to"}:
        raise WireError(f"its {node.kind} lacks an attribute")


def letter_of(value: Attribute) -> str:
    """Return the letter of an attribute's type."""
    if isinstance(value, tuple):
        return "F" if value and isinstance(value[0], float) else "I"
    if isinstance(value, bytes):
        return "s"
    if isinstance(value, Weight):
        return "t"
    return "f" if isinstance(value, float) else "i"


def require_types(node: Node, given: Given) -> None:
    """Raise WireError where an input is of a type that the operator does not take."""
    known = SIGNATURES[node.kind]
    for place, value in enumerate(given):
        if value is None:
            if place < known.least:
                raise WireError("an input of it is left out")
            continue
        first = given[0]
        alike = first is not None and value.elem_type != first.elem_type
        if (
            (place == 0 and value.elem_type not in known.types)
            or (0 < place < known.alike and alike)
            or value.elem_type not in known.others.get(place, _ANY)
        ):
            raise WireError(f"its input {place} is of a type that it does not take")
    if node.kind == "Where" and _kinds(given[1:]) > 1:
        raise WireError("its inputs are of several types")


def _kinds(given: Given) -> int:
    return len({value.elem_type for value in given if value is not None})
