"""How large everything in a graph becomes for inputs of known sizes, and how much work that is.

ONNX Runtime makes room for whatever a graph asks for, some of it while it loads. A graph of a
kilobyte can ask for more than any machine has, or compute for a year. So its sizes are worked out
beforehand, from the frame, the bound tensors and what earlier stages give, and held against bounds.
What a kernel needs for itself while it runs is not in these figures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cad_edge_runtime.graph_summary import (
    ELEMENT_TYPES,
    GraphLimits,
    GraphSummary,
    Node,
    Port,
)
from cad_edge_runtime.operator_shapes import Shape, Sized
from cad_edge_runtime.operator_signatures import require_types
from cad_edge_runtime.operator_windows import products
from cad_edge_runtime.operators import RULES, element_type, small_values
from cad_edge_runtime.protobuf import WireError


@dataclass(frozen=True)
class Feed:
    """An input or output of a graph as it is when it runs."""

    shape: Shape
    elem_type: int

    def __str__(self) -> str:
        kind = ELEMENT_TYPES.get(self.elem_type)
        return f"{kind or 'no number'} of shape {self.shape}"


def sizes_of(
    summary: GraphSummary,
    feeds: Mapping[str, Feed],
    limits: GraphLimits,
    frame: int,
    frames: int = 1,
) -> dict[str, Feed]:
    """Work out what a graph gives.

    Parameters
    ----------
    summary
        The graph.
    feeds
        Every input by name.
    limits
        What values may take together, and how many multiplications there may be.
    frame
        Numbers in a frame, with which both may grow.
    frames
        How many of them there are at once; each may take as much.

    Returns
    -------
    dict
        Every output by name.

    Raises
    ------
    WireError
        An input is not as the graph declares it, sizes do not fit together, or there is too much.
    """
    known: dict[str, Sized] = {}
    for port in summary.inputs:
        known[port.name] = _fed(port, feeds[port.name], limits)
    for weight in summary.weights:
        known[weight.name] = Sized(weight.dims, weight.elem_type, weight.values)
    fed = sum(math.prod(feed.shape) for feed in feeds.values())
    numbers = summary.weight_bytes // 4 + fed
    memory = max(
        limits.memory,
        limits.memory_by_weights * (summary.weight_bytes + 4 * fed),
        limits.memory_by_pixels * frame,
    )
    work = max(limits.products, limits.products_by_numbers * (numbers + frame))
    _Budget(summary, frames * memory, frames * work, limits).spend(known)
    for port in summary.outputs:
        if port.name not in known:
            raise WireError(f"nothing in it gives the output {port.name[:80]!r}")
    return {port.name: _given(port, known[port.name]) for port in summary.outputs}


def _given(port: Port, found: Sized) -> Feed:
    given = Feed(found.shape, found.elem_type)
    declared = len(port.dims) in (0, len(found.shape)) and all(
        not isinstance(size, int) or size == real
        for size, real in zip(port.dims, found.shape, strict=False)
    )
    if port.elem_type != found.elem_type or not declared:
        raise WireError(f"it declares the output {port.name[:80]!r} as other than {given}")
    return given


def _fed(port: Port, feed: Feed, limits: GraphLimits) -> Sized:
    declared = [size if isinstance(size, int) else None for size in port.dims]
    # ONNX Runtime takes any shape for what is declared as a single number, or without a shape.
    fits = not declared or (
        len(declared) == len(feed.shape)
        and all(
            size is None or size == given for size, given in zip(declared, feed.shape, strict=True)
        )
    )
    if port.elem_type != feed.elem_type or not fits:
        shape = ", ".join("?" if size is None else str(size)[:40] for size in port.dims)
        kind = ELEMENT_TYPES.get(port.elem_type) or "no number"
        raise WireError(
            f"it takes {port.name[:80]!r} as {kind} of shape ({shape}) and the manifest binds "
            f"{feed}"
        )
    if math.prod(feed.shape) > limits.elements:
        raise WireError(f"its input {port.name[:80]!r} has more than {limits.elements} elements")
    return Sized(feed.shape, feed.elem_type)


class _Budget:
    """One walk over the operators of a graph, in their order."""

    def __init__(self, summary: GraphSummary, memory: int, work: int, limits: GraphLimits) -> None:
        self._body = summary.body
        self._memory, self._work = memory, work
        self._limits = limits
        self._kept = {port.name for port in summary.outputs}
        self._last = {
            name: place for place, node in enumerate(summary.body) for name in node.inputs
        }

    def spend(self, known: dict[str, Sized]) -> None:
        """Add what every operator gives to ``known``."""
        alive = worked = 0
        fixed = set(known)  # neither inputs nor weights are freed, and the caller has counted them
        for place, node in enumerate(self._body):
            given = [known[name] if name in known else self._absent(name) for name in node.inputs]
            for name, made in zip(node.outputs, self._made(node, given), strict=True):
                if name in known:
                    raise WireError(f"it computes {name[:80]!r} twice")
                if name:
                    known[name] = made
                    alive += _bytes(made)
            worked += products(node, given, [known[name].shape for name in node.outputs if name])
            if alive > self._memory:
                raise WireError(
                    f"its {node.kind} takes its values to {alive >> 20} MiB at once, allowed are "
                    f"{self._memory >> 20}"
                )
            if worked > self._work:
                raise WireError(
                    f"it takes more than {self._work:.2g} multiplications up to its {node.kind}"
                )
            for name in set(node.inputs) - fixed - self._kept:
                if name and self._last[name] == place:
                    alive -= _bytes(known[name])

    @staticmethod
    def _absent(name: str) -> Sized | None:
        if name:
            raise WireError(f"it uses {name[:80]!r} before it is computed")
        return None

    def _made(self, node: Node, given: Sequence[Sized | None]) -> list[Sized]:
        try:
            require_types(node, given)
            shapes = RULES[node.kind](node, given)
            found = [
                Sized(
                    shape,
                    element_type(node, given, place),
                    small_values(node, given, shape) if place == 0 else None,
                )
                for place, shape in enumerate(shapes)
            ]
        except WireError as problem:
            raise WireError(f"its {node.kind} cannot be run: {problem}") from None
        except (ArithmeticError, LookupError, TypeError, ValueError):
            raise WireError(f"its {node.kind} cannot be run: its inputs do not fit it") from None
        if len(shapes) != len(node.outputs):
            raise WireError(f"its {node.kind} gives {len(node.outputs)} values, not {len(shapes)}")
        if max(len(shape) for shape in shapes) > self._limits.rank:
            raise WireError(f"its {node.kind} gives more than {self._limits.rank} axes")
        return found


def _bytes(value: Sized) -> int:
    return math.prod(value.shape) * ELEMENT_TYPES[value.elem_type].itemsize
