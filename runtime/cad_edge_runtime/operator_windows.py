"""Shapes that operators with windows and products give, and how many multiplications they take."""

import math

from cad_edge_runtime.graph_summary import Node
from cad_edge_runtime.operator_shapes import (
    Given,
    Shape,
    broadcast,
    first,
    optional,
)
from cad_edge_runtime.protobuf import WireError

_ELEMENT_WISE = 8  # multiplications that an element of any other operator counts as


def convolve(node: Node, given: Given) -> list[Shape]:
    """Convolve (batch, channels, ...) with (outputs, channels / groups, ...)."""
    shape, kernel = first(given).shape, first(given, 1).shape
    group = node.integer("group", 1)
    if len(shape) != len(kernel) or len(shape) < 3 or group < 1 or shape[1] != kernel[1] * group:
        raise WireError(f"it convolves {list(shape)} with {list(kernel)} in {group} groups")
    return [(shape[0], kernel[0], *_windows(node, shape[2:], kernel[2:]))]


def pool(node: Node, given: Given) -> list[Shape]:
    """Pool (batch, channels, ...)."""
    shape, kernel = first(given).shape, node.integers("kernel_shape") or ()
    if len(shape) != len(kernel) + 2 or not kernel:
        raise WireError(f"it pools {list(shape)} by {list(kernel)[:9]}")
    return [(*shape[:2], *_windows(node, shape[2:], kernel))]


def _windows(node: Node, sizes: Shape, kernel: Shape) -> Shape:
    """How often a kernel fits, by axis."""
    rank = len(sizes)
    strides = node.integers("strides") or (1,) * rank
    dilations = node.integers("dilations") or (1,) * rank
    pads = node.integers("pads") or (0,) * (2 * rank)
    if (len(strides), len(dilations), len(pads)) != (rank, rank, 2 * rank):
        raise WireError("its strides, dilations or margins are not those of its axes")
    if min(*strides, *dilations, *kernel) < 1 or min(pads) < 0:
        raise WireError("its strides, dilations or margins are no such")
    rounding = node.word("auto_pad", "NOTSET")
    if rounding not in ("NOTSET", "VALID"):
        raise WireError(f"it has the margins {rounding[:20]!r}, which no engine has")
    found = []
    for axis, size in enumerate(sizes):
        room = size + pads[axis] + pads[axis + rank] - dilations[axis] * (kernel[axis] - 1) - 1
        if room < 0:
            raise WireError(f"its window of {kernel[axis]} is larger than {size}")
        up = strides[axis] - 1 if node.integer("ceil_mode", 0) else 0
        found.append((room + up) // strides[axis] + 1)
    return tuple(found)


def multiply(node: Node, given: Given) -> list[Shape]:
    """Multiply matrices."""
    left, right = first(given).shape, first(given, 1).shape
    if not left or not right:
        raise WireError("it multiplies a number as a matrix")
    wide = (1, *left) if len(left) == 1 else left
    tall = (*right, 1) if len(right) == 1 else right
    if wide[-1] != tall[-2]:
        raise WireError(f"it multiplies {list(left)} by {list(right)}")
    rows = () if len(left) == 1 else (wide[-2],)
    columns = () if len(right) == 1 else (tall[-1],)
    return [broadcast([wide[:-2], tall[:-2]]) + rows + columns]


def general_multiply(node: Node, given: Given) -> list[Shape]:
    """Multiply two matrices, either transposed, and add a third value."""
    left, right = first(given).shape, first(given, 1).shape
    if len(left) != 2 or len(right) != 2:
        raise WireError(f"it multiplies {list(left)} by {list(right)}")
    left = left[::-1] if node.integer("transA", 0) else left
    right = right[::-1] if node.integer("transB", 0) else right
    found = (left[0], right[1])
    added = optional(given, 2)
    if left[1] != right[0] or (added is not None and broadcast([found, added.shape]) != found):
        raise WireError(f"it multiplies {list(left)} by {list(right)}")
    return [found]


def normalise(node: Node, given: Given) -> list[Shape]:
    """Normalise the last axes; mean and deviation are further outputs."""
    shape = first(given).shape
    axis = node.integer("axis", -1) % max(len(shape), 1)
    rest = shape[:axis] + (1,) * len(shape[axis:])
    return [shape, rest, rest][: len(node.outputs)]


def largest(node: Node, given: Given) -> list[Shape]:
    """Take the largest elements of an axis and their places."""
    shape, count = first(given).shape, first(given, 1).numbers()
    axis = node.integer("axis", -1)
    if not -len(shape) <= axis < len(shape) or not 0 <= count[0] <= shape[axis]:
        raise WireError(f"it takes {count[0]} of {list(shape)}")
    found = list(shape)
    found[axis] = count[0]
    return [tuple(found), tuple(found)]


def products(node: Node, given: Given, made: list[Shape]) -> int:
    """Multiplications that an operator takes, or what its work is worth in them."""
    count = sum(math.prod(shape) for shape in made)
    if node.kind == "Conv":
        return math.prod(made[0]) * math.prod(first(given, 1).shape[1:])
    if node.kind in ("MatMul", "MatMulInteger"):
        return math.prod(made[0]) * first(given).shape[-1]
    if node.kind == "Gemm":
        return math.prod(made[0]) * first(given).shape[0 if node.integer("transA", 0) else 1]
    if node.kind == "AveragePool":
        return math.prod(made[0]) * math.prod(node.integers("kernel_shape") or (1,))
    taken = sum(math.prod(value.shape) for value in given if value is not None)
    return _ELEMENT_WISE * max(count, taken)
