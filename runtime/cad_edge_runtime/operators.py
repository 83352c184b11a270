"""The operators that engines of this project have; a graph with any other is refused.

What is not here is left out because no engine has it: loops and branches, random numbers, strings,
sequences, and what makes a value of any size from a number alone. Some that are here, as TopK, are
in bundles of earlier versions alone, or are what another version of torch writes for the same.
"""

import operator
from collections.abc import Callable, Mapping

import numpy as np

from cad_edge_runtime.graph_summary import (
    BOOL,
    ELEMENT_TYPES,
    FLOAT,
    INT32,
    INT64,
    Node,
    Values,
    Weight,
)
from cad_edge_runtime.onnx_tensor import SMALL
from cad_edge_runtime.operator_shapes import (
    Given,
    Rule,
    Shape,
    Sized,
    concat,
    element_wise,
    expand,
    first,
    flatten,
    gather,
    one_axis,
    optional,
    pad,
    range_of,
    reduce,
    reshape,
    same,
    shape_of,
    slice_of,
    split,
    squeeze,
    transpose,
    unsqueeze,
)
from cad_edge_runtime.operator_windows import (
    convolve,
    general_multiply,
    largest,
    multiply,
    normalise,
    pool,
)
from cad_edge_runtime.protobuf import WireError

_ELEMENT_WISE = ("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Where")
_COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_SAME = (
    *("Abs", "Cast", "Clip", "Cos", "DequantizeLinear", "Erf", "Exp", "Identity", "Log", "Neg"),
    *("QuantizeLinear", "Reciprocal", "Relu", "Sigmoid", "Sin", "Softmax", "Sqrt", "Tanh"),
)
_REDUCTIONS = (
    *("ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"),
)


def _constant(node: Node, given: Given) -> list[Shape]:
    return [constant_of(node).shape]


RULES: Mapping[str, Rule] = {
    **dict.fromkeys((*_ELEMENT_WISE, *_COMPARISONS), element_wise),
    **dict.fromkeys(_SAME, same),
    **dict.fromkeys(_REDUCTIONS, reduce),
    **dict.fromkeys(("MatMul", "MatMulInteger"), multiply),
    "ArgMax": one_axis,
    "AveragePool": pool,
    "Concat": concat,
    "Constant": _constant,
    "Conv": convolve,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": general_multiply,
    "LayerNormalization": normalise,
    "Pad": pad,
    "Range": range_of,
    "Reshape": reshape,
    "Shape": shape_of,
    "Slice": slice_of,
    "Split": split,
    "Squeeze": squeeze,
    "TopK": largest,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
"""How large what an operator gives is, by its name: all operators that are allowed."""

_Arithmetic = Callable[[Values, Values], Values]
_ARITHMETIC: Mapping[str, _Arithmetic] = {
    "Add": operator.add,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": operator.mul,
    "Sub": operator.sub,
}


def constant_of(node: Node) -> Sized:
    """Value of a Constant; WireError unless it is numbers."""
    for name, kind in (("value_int", INT64), ("value_ints", INT64)):
        found = node.attributes.get(name)
        if isinstance(found, int | tuple):
            values = np.asarray(found, ELEMENT_TYPES[kind])
            return Sized(values.shape, kind, values)
    for name in ("value_float", "value_floats"):
        found = node.attributes.get(name)
        if isinstance(found, float | tuple):
            values = np.asarray(found, ELEMENT_TYPES[FLOAT])
            return Sized(values.shape, FLOAT, values)
    tensor = node.attributes.get("value")
    if not isinstance(tensor, Weight):
        raise WireError("a constant in it is no tensor of numbers")
    return Sized(tensor.dims, tensor.elem_type, tensor.values)


def element_type(node: Node, given: Given, place: int = 0) -> int:
    """TensorProto data type of an output of an operator."""
    kind = node.kind
    if kind in _COMPARISONS:
        return BOOL
    if kind in ("Shape", "ArgMax") or (kind == "TopK" and place == 1):
        return INT64
    if kind == "Cast":
        wanted = node.integer("to", 0)
        if wanted not in ELEMENT_TYPES:
            raise WireError(f"it casts to a type that no engine has ({wanted})")
        return wanted
    if kind == "Constant":
        return constant_of(node).elem_type
    if kind == "MatMulInteger":
        return INT32
    if kind == "DequantizeLinear":
        return first(given, 1).elem_type
    if kind == "QuantizeLinear":
        zero = optional(given, 2)
        return 2 if zero is None else zero.elem_type
    return first(given, 1 if kind == "Where" else 0).elem_type


def small_values(node: Node, given: Given, shape: Shape) -> Values | None:
    """Value of what an operator gives, where it is a shape or part of one and known beforehand."""
    if node.kind == "Constant":
        return constant_of(node).values
    if node.kind == "Shape":
        whole = first(given).shape
        part = whole[node.integer("start", 0) : node.integer("end", len(whole))]
        return np.asarray(part, np.int64)
    taken = [value.values for value in given if value is not None]
    known = [value for value in taken if value is not None and value.size <= SMALL]
    if len(known) != len(taken) or any(value.dtype.kind not in "iu" for value in known):
        return None
    if np.prod(shape) > SMALL:
        return None
    with np.errstate(all="ignore"):
        return _computed(node, known, shape)


def _computed(node: Node, known: list[Values], shape: Shape) -> Values | None:
    kind, value = node.kind, known[0]
    if kind in ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"):
        return value.reshape(shape)
    if kind == "Cast":
        wanted = ELEMENT_TYPES[node.integer("to", 0)]
        return value.astype(wanted) if wanted.kind in "iu" else None
    if kind == "Neg":
        return -value
    if kind == "Concat":
        return np.concatenate(known, axis=node.integer("axis", 0))
    if kind == "Expand":
        return np.broadcast_to(value, shape)
    if kind == "Gather":
        return np.asarray(np.take(value, known[1], axis=node.integer("axis", 0)))
    if kind == "Slice" and value.ndim == 1:
        step = int(known[4][0]) if len(known) > 4 else 1
        return value[int(known[1][0]) : int(known[2][0]) : step]
    if kind == "Range":
        start, limit, step = (int(one.ravel()[0]) for one in known)
        return np.array(range(start, limit, step), value.dtype)
    if kind == "Div":
        # Towards zero, as the runtime divides whole numbers.
        return np.where(known[1] == 0, 0, np.trunc(value / np.where(known[1], known[1], 1))).astype(
            value.dtype
        )
    if kind in _ARITHMETIC and len(known) == 2:
        return np.asarray(_ARITHMETIC[kind](value, known[1]))
    return None
