"""Products with constant weights as products of integers, quantised row by row while they run.

    x W  =  r (q W' + e),   r = max |x| along a row,   q = round(127 x / r),   W = c W' per column

q goes in as uint8 with zero point 128, W' as int8 with zero point 0: the pair that processors have
an instruction for. Every row, a token of one image, has its own range, so that an answer depends
neither on other images of a batch nor on the few tokens of a language model whose values are a
hundred times those of all others. No range is measured, and what is quantised depends on the
weights alone. All operators are standard ones, and none of them is folded back into floating point.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cad_edge_export.graph_files import (
    GRAPH,
    INLINE_BYTES,
    WEIGHTS,
    Graph,
    bring_in,
    put_beside,
    value_of,
)
from cad_edge_export.onnx_graph import clean
from cad_edge_export.quantisation.placement import quantise_weights

Array = np.ndarray[Any, np.dtype[Any]]

SMALLEST_SIDE = 64  # of a weight; below it rounding costs more than the product
STEPS = 127  # on either side of zero
_SMALLEST_ROW = 1e-12  # a row of zeros has a range, too
_ZERO, _STEP, _FLOOR, _AXES = "rows/zero", "rows/step", "rows/floor", "rows/axes"


@dataclass(frozen=True)
class _Product:
    """x @ weight, or a Gemm that adds to it."""

    node: onnx.NodeProto
    weight: str
    outputs_first: bool
    """Whether the weight is (outputs, inputs)."""


def products_in(graph: Graph) -> list[str]:
    """Names of the weights of products that are in float and could be quantised, in graph order."""
    found = _products(onnx.ModelProto.FromString(graph[GRAPH]))
    return [product.weight for product in found]


def quantise_products(graph: Graph, kept: Set[str]) -> Graph:
    """Round the products of a float graph.

    Parameters
    ----------
    graph
        Of float32; inputs and outputs stay what they are.
    kept
        Names of weights, as `products_in` gives them, that stay in float.

    Returns
    -------
    The graph itself where there is nothing to round.
    """
    model = onnx.ModelProto.FromString(graph[GRAPH])
    chosen = [product for product in _products(model) if product.weight not in kept]
    if not chosen:
        return graph
    weights = graph.get(WEIGHTS, b"")
    _Rounding(model, weights).apply(chosen)
    bring_in(model, weights)
    clean(model)
    beside = put_beside(model, INLINE_BYTES)
    if not beside:
        onnx.checker.check_model(model)
    return {GRAPH: model.SerializeToString(deterministic=True), **beside}


def _products(model: onnx.ModelProto) -> list[_Product]:
    """Products whose weight is large enough and read by nothing else."""
    weights = {
        item.name
        for item in model.graph.initializer
        if item.data_type == TensorProto.FLOAT
        and len(item.dims) == 2
        and min(item.dims) >= SMALLEST_SIDE
    }
    read: dict[str, int] = {value.name: 1 for value in model.graph.output}
    for node in model.graph.node:
        for name in node.input:
            read[name] = read.get(name, 0) + 1
    return [
        _Product(node, node.input[1], _outputs_first(node))
        for node in model.graph.node
        if _multiplies(node) and node.input[1] in weights and read[node.input[1]] == 1
    ]


def _multiplies(node: onnx.NodeProto) -> bool:
    """Whether a node is a product of its first two inputs, and no more than a sum besides."""
    if node.op_type == "MatMul":
        return True
    if node.op_type != "Gemm":
        return False
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    factors = given.get("alpha", 1.0), given.get("beta", 1.0)
    return factors == (1.0, 1.0) and not given.get("transA", 0)


def _outputs_first(node: onnx.NodeProto) -> bool:
    return any(item.name == "transB" and item.i for item in node.attribute)


class _Rounding:
    """One graph on its way to integers."""

    def __init__(self, model: onnx.ModelProto, beside: bytes) -> None:
        self.graph = model.graph
        self.beside = beside
        self.constants = {item.name: item for item in self.graph.initializer}
        self.rows: set[str] = set()
        """Tensors whose rows are quantised already."""

    def apply(self, products: list[_Product]) -> None:
        self._add(_ZERO, np.uint8(STEPS + 1))
        self._add(_STEP, np.float32(1 / STEPS))
        self._add(_FLOOR, np.float32(_SMALLEST_ROW))
        self._add(_AXES, np.array([-1], np.int64))
        for product in products:
            self._round_weight(product)
        by_output = {product.node.output[0]: product for product in products}
        nodes = list(self.graph.node)
        del self.graph.node[:]
        for node in nodes:
            found = by_output.get(node.output[0])
            self.graph.node.extend([node] if found is None else self._steps(found))

    def _steps(self, product: _Product) -> Iterator[onnx.NodeProto]:
        """Nodes in place of a product, and those that round its rows where none has before."""
        node, source, weight = product.node, product.node.input[0], product.weight
        if source not in self.rows:
            self.rows.add(source)
            yield from _row_steps(source)
        name = output = node.output[0]
        summed = len(node.input) > 2 and bool(node.input[2])
        scaled = f"{name}/product" if summed else output
        yield _node(
            "MatMulInteger", [f"{source}/rows", f"{weight}/integer", _ZERO], f"{name}/integer"
        )
        yield helper.make_node(
            "Cast", [f"{name}/integer"], [f"{name}/whole"], f"{name}/whole", to=TensorProto.FLOAT
        )
        yield _node("Mul", [f"{name}/whole", f"{weight}/scale"], f"{name}/columns")
        yield _node("Mul", [f"{name}/columns", f"{source}/range"], scaled)
        if summed:
            yield _node("Add", [scaled, node.input[2]], output)

    def _round_weight(self, product: _Product) -> None:
        """Put integers (inputs, outputs) and a scale per output in place of a weight."""
        name, item = product.weight, self.constants[product.weight]
        value = value_of(item, self.beside)
        scales, whole = quantise_weights(value if product.outputs_first else value.T)
        # In its own place, so that there is never a second copy of all weights.
        integers = np.ascontiguousarray(whole.T)
        item.CopyFrom(numpy_helper.from_array(integers, f"{name}/integer"))
        self._add(f"{name}/scale", scales / np.float32(STEPS))

    def _add(self, name: str, value: np.generic | Array) -> None:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _row_steps(source: str) -> Iterator[onnx.NodeProto]:
    """Rows of ``source`` as integers ``<source>/rows``, and their ranges ``<source>/range``."""
    yield _node("Abs", [source], f"{source}/sizes")
    yield _node("ReduceMax", [f"{source}/sizes", _AXES], f"{source}/largest")  # axes are kept
    yield _node("Max", [f"{source}/largest", _FLOOR], f"{source}/range")
    yield _node("Div", [source, f"{source}/range"], f"{source}/shares")
    yield _node("QuantizeLinear", [f"{source}/shares", _STEP, _ZERO], f"{source}/rows")


def _node(kind: str, inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], output)
