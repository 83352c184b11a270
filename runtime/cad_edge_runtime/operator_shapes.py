"""Shapes that operators give: one rule for each operator that an engine of this project has.

The rules are those of the ONNX standard, opset 17 to 20, for sizes that are all known. An operator
without a rule is not run. `cad_edge_runtime.operators` joins them with names.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cad_edge_runtime.graph_summary import Node, Values
from cad_edge_runtime.protobuf import WireError

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Sized:
    """A value of a graph: its shape, its TensorProto data type and, where it is small, itself."""

    shape: Shape
    elem_type: int
    values: Values | None = None

    def numbers(self) -> list[int]:
        """Whole numbers that it holds; WireError where they are not known beforehand."""
        if self.values is None or self.values.dtype.kind not in "iu":
            raise WireError("a size in it is computed from what is not known before it runs")
        return [int(value) for value in self.values.ravel()]


Given: TypeAlias = Sequence[Sized | None]
Rule: TypeAlias = Callable[[Node, Given], list[Shape]]


def first(given: Given, place: int = 0) -> Sized:
    """Input that must be there."""
    found = given[place] if place < len(given) else None
    if found is None:
        raise WireError("an input of it is left out")
    return found


def optional(given: Given, place: int) -> Sized | None:
    """Input that may be left out."""
    return given[place] if place < len(given) else None


def axis_of(axis: int, rank: int) -> int:
    """Count an axis from the front."""
    if not -rank <= axis < rank:
        raise WireError(f"an axis of it is {axis} where there are {rank}")
    return axis % rank


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Shape of several values taken element by element."""
    rank = max(len(shape) for shape in shapes)
    sizes = [1] * rank
    for shape in shapes:
        for place, size in enumerate(shape, start=rank - len(shape)):
            if size != 1 and sizes[place] not in (1, size):
                raise WireError(f"shapes in it do not fit together ({_listed(shapes)})")
            sizes[place] = sizes[place] if size == 1 else size
    return tuple(sizes)


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join(str(list(shape)) for shape in shapes[:3])


def same(node: Node, given: Given) -> list[Shape]:
    """Shape of the first input, for each output."""
    return [first(given).shape] * len(node.outputs)


def element_wise(node: Node, given: Given) -> list[Shape]:
    """Shape of all inputs together."""
    return [broadcast([first(given, place).shape for place in range(len(given))])]


def transpose(node: Node, given: Given) -> list[Shape]:
    """Permute axes."""
    shape = first(given).shape
    order = node.integers("perm") or tuple(reversed(range(len(shape))))
    if sorted(order) != list(range(len(shape))):
        raise WireError(f"it permutes {len(shape)} axes by {list(order)[:9]}")
    return [tuple(shape[axis] for axis in order)]


def concat(node: Node, given: Given) -> list[Shape]:
    """Join along an axis."""
    shapes = [first(given, place).shape for place in range(len(given))]
    axis = axis_of(node.integer("axis", 0), len(shapes[0]))
    rest = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(rest) != 1 or len({len(shape) for shape in shapes}) != 1:
        raise WireError(f"shapes in it do not fit together ({_listed(shapes)})")
    whole = list(shapes[0])
    whole[axis] = sum(shape[axis] for shape in shapes)
    return [tuple(whole)]


def reduce(node: Node, given: Given) -> list[Shape]:
    """Reduce axes, all of them where none is named."""
    shape = first(given).shape
    named = optional(given, 1)
    axes = node.integers("axes") if named is None else tuple(named.numbers())
    if not axes and node.integer("noop_with_empty_axes", 0):
        return [shape]
    gone = {axis_of(axis, len(shape)) for axis in axes or range(len(shape))}
    if node.integer("keepdims", 1):
        return [tuple(1 if axis in gone else size for axis, size in enumerate(shape))]
    return [tuple(size for axis, size in enumerate(shape) if axis not in gone)]


def one_axis(node: Node, given: Given) -> list[Shape]:
    """Reduce the one axis of ArgMax."""
    shape = first(given).shape
    axis = axis_of(node.integer("axis", 0), len(shape))
    kept = (1,) if node.integer("keepdims", 1) else ()
    return [shape[:axis] + kept + shape[axis + 1 :]]


def unsqueeze(node: Node, given: Given) -> list[Shape]:
    """Add axes of size 1."""
    sizes, added = list(first(given).shape), first(given, 1).numbers()
    rank = len(sizes) + len(added)
    for axis in sorted(axis_of(axis, rank) for axis in added):
        sizes.insert(axis, 1)
    return [tuple(sizes)]


def squeeze(node: Node, given: Given) -> list[Shape]:
    """Remove axes of size 1."""
    shape, named = first(given).shape, optional(given, 1)
    gone = {axis for axis, size in enumerate(shape) if size == 1}
    if named is not None:
        wanted = {axis_of(axis, len(shape)) for axis in named.numbers()}
        if wanted - gone:
            raise WireError(f"it removes an axis of {list(shape)} that is not of size 1")
        gone = wanted
    return [tuple(size for axis, size in enumerate(shape) if axis not in gone)]


def reshape(node: Node, given: Given) -> list[Shape]:
    """Read the same elements as another shape."""
    shape, wanted = first(given).shape, first(given, 1).numbers()
    if not node.integer("allowzero", 0):
        wanted = [shape[place] if size == 0 else size for place, size in enumerate(wanted)]
    count, rest = math.prod(shape), math.prod(size for size in wanted if size != -1)
    free = wanted.count(-1)
    if min(wanted, default=0) < -1 or free > 1 or (free and (not rest or count % rest)):
        raise WireError(f"it reads {list(shape)} as {wanted[:9]}")
    found = tuple(count // rest if size == -1 else size for size in wanted)
    if math.prod(found) != count:
        raise WireError(f"it reads {list(shape)} as {wanted[:9]}")
    return [found]


def flatten(node: Node, given: Given) -> list[Shape]:
    """Read as two axes."""
    shape = first(given).shape
    axis = node.integer("axis", 1)
    axis = axis if axis == len(shape) else axis_of(axis, len(shape))
    return [(math.prod(shape[:axis]), math.prod(shape[axis:]))]


def shape_of(node: Node, given: Given) -> list[Shape]:
    """Shape of the shape."""
    rank = len(first(given).shape)
    return [(len(range(rank)[node.integer("start", 0) : node.integer("end", rank)]),)]


def expand(node: Node, given: Given) -> list[Shape]:
    """Repeat along axes of size 1."""
    wanted = tuple(first(given, 1).numbers())
    if min(wanted, default=0) < 0:
        raise WireError(f"it expands to {list(wanted)[:9]}")
    return [broadcast([first(given).shape, wanted])]


def slice_of(node: Node, given: Given) -> list[Shape]:
    """Take ranges of axes."""
    sizes = list(first(given).shape)
    starts, ends = first(given, 1).numbers(), first(given, 2).numbers()
    axes, steps = optional(given, 3), optional(given, 4)
    places = list(range(len(starts))) if axes is None else axes.numbers()
    strides = [1] * len(starts) if steps is None else steps.numbers()
    for axis, start, end, step in zip(places, starts, ends, strides, strict=True):
        place = axis_of(axis, len(sizes))
        sizes[place] = len(range(first(given).shape[place])[start:end:step])
    return [tuple(sizes)]


def split(node: Node, given: Given) -> list[Shape]:
    """Cut along an axis."""
    shape, sizes = first(given).shape, optional(given, 1)
    axis = axis_of(node.integer("axis", 0), len(shape))
    count = len(node.outputs)
    if sizes is None:
        piece = -(-shape[axis] // count)
        parts = [min(piece, shape[axis] - piece * number) for number in range(count)]
    else:
        parts = sizes.numbers()
    if sum(parts) != shape[axis] or len(parts) != count or min(parts) < 0:
        raise WireError(f"it cuts {shape[axis]} into {parts[:9]}")
    return [(*shape[:axis], part, *shape[axis + 1 :]) for part in parts]


def gather(node: Node, given: Given) -> list[Shape]:
    """Take elements of an axis by number."""
    shape = first(given).shape
    axis = axis_of(node.integer("axis", 0), len(shape))
    return [shape[:axis] + first(given, 1).shape + shape[axis + 1 :]]


def range_of(node: Node, given: Given) -> list[Shape]:
    """Count."""
    start, limit, step = (first(given, place).numbers()[0] for place in range(3))
    if not step:
        raise WireError("it counts in steps of 0")
    return [(max(0, -(-(limit - start) // step)),)]


def pad(node: Node, given: Given) -> list[Shape]:
    """Add a margin, or take one away."""
    shape, margins, named = first(given).shape, first(given, 1).numbers(), optional(given, 3)
    axes = list(range(len(shape))) if named is None else named.numbers()
    if len(margins) != 2 * len(axes):
        raise WireError(f"it has {len(margins)} margins for {len(axes)} axes")
    sizes = list(shape)
    for place, axis in enumerate(axes):
        sizes[axis_of(axis, len(shape))] += margins[place] + margins[place + len(axes)]
    if min(sizes, default=0) < 0:
        raise WireError("its margins take away more than there is")
    return [tuple(sizes)]
