"""Placing quantisers: QuantizeLinear and DequantizeLinear pairs around convolutions.

``int8`` keeps the rules of TensorRT: signed, zero point 0, a scale per output channel of the
weights, one per tensor of activations, biases in float32. ``uint8`` is for CPUs, where ONNX
Runtime and OpenVINO run unsigned activations with signed weights fastest: eight bits instead of
seven behind a ReLU6, whose clip the quantiser then does for free, and an image that is never
converted to float.

A quantiser stands behind a convolution's clip, never between the two: otherwise neither runtime can
join convolution, clip and quantiser into one integer kernel.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cad_edge_export.onnx_graph import strip
from cad_edge_export.quantisation.float_graph import Convolution, FloatGraph, ImageScaling

Array = np.ndarray[Any, np.dtype[Any]]
Style = Literal["int8", "uint8"]


class Range(NamedTuple):
    """Smallest and largest value that a tensor takes."""

    low: float
    high: float


@dataclass(frozen=True)
class Encoding:
    """real = (integer - zero_point) * scale."""

    scale: float
    zero_point: int
    signed: bool

    @staticmethod
    def of(found: Range, style: Style) -> "Encoding":
        """Encode a range; zero is always exact, since padding reads it."""
        low, high = min(found.low, 0.0), max(found.high, 0.0)
        if style == "int8":
            return Encoding(max(-low, high, 1e-12) / 127, 0, True)
        scale = max(high - low, 1e-12) / 255
        return Encoding(scale, round(-low / scale), False)

    def quantised(self, values: Array) -> Array:
        """Values (...) float64 as they come back from eight bits."""
        smallest, largest = (-128, 127) if self.signed else (0, 255)
        whole = np.clip(np.rint(values / self.scale) + self.zero_point, smallest, largest)
        found: Array = (whole - self.zero_point) * self.scale
        return found


def place(graph: FloatGraph, ranges: Mapping[str, Range], style: Style, kept: Set[str]) -> bytes:
    """Quantise every convolution of ``graph`` but those named in ``kept``.

    Parameters
    ----------
    graph
        Changed in place; parse it again for another placement.
    ranges
        Of every tensor that `quantised_tensors` names.
    style
        Types of the activations, see the module.
    kept
        Names of convolutions that stay in float32.

    Returns
    -------
    The serialised model, with the inputs and outputs of the float graph.
    """
    return _Placement(graph, ranges, style, kept).serialise()


def quantised_tensors(graph: FloatGraph, kept: Set[str]) -> list[str]:
    """Activations that carry eight bits when all convolutions but ``kept`` do, in graph order."""
    chosen = [one for one in graph.convolutions if one.name not in kept]
    names = dict.fromkeys(name for one in chosen for name in (one.source, one.result))
    for addition in graph.additions():
        if all(name in names for name in addition.input):
            names[addition.output[0]] = None
    return list(names)


class _Placement:
    def __init__(
        self, graph: FloatGraph, ranges: Mapping[str, Range], style: Style, kept: Set[str]
    ) -> None:
        self.graph, self.style = graph, style
        self.layers = [one for one in graph.convolutions if one.name not in kept]
        tops = {one.result: one.top for one in self.layers if one.top is not None}
        self.encodings: dict[str, Encoding] = {}
        self.before: dict[str, list[onnx.NodeProto]] = {}
        self.removed: list[onnx.NodeProto] = []
        for name in quantised_tensors(graph, kept):
            top = tops.get(name)
            found = ranges[name] if top is None else Range(0.0, top)
            self.encodings[name] = Encoding.of(found, style)

    def serialise(self) -> bytes:
        for name in self.encodings:
            self._quantise_activation(name)
        for layer in self.layers:
            self._quantise_weights(layer)
        if self.style == "uint8":
            self._scale_image_at_once()
        graph = self.graph.model.graph
        nodes = [node for node in graph.node if not any(node is gone for gone in self.removed)]
        del graph.node[:]
        added = [node for some in self.before.values() for node in some]
        graph.node.extend(_sorted([*nodes, *added]))
        read = {name for node in graph.node for name in node.input}
        constants = [item for item in graph.initializer if item.name in read]
        del graph.initializer[:]
        graph.initializer.extend(constants)
        return strip(self.graph.model)

    def _quantise_activation(self, name: str) -> None:
        scaling = self.graph.image_scaling(name) if self.style == "uint8" else None
        if scaling is not None:
            self._read_image(name, scaling)
        elif name in self.graph.inputs:
            self._quantise_input(name)
        else:
            raw = f"{name}/float"
            producer = self.graph.producer[name]
            producer.output[list(producer.output).index(name)] = raw
            self.before[name] = self._pair(name, raw, name)

    def _quantise_input(self, name: str) -> None:
        """Only what computes in integers reads the quantised values of a graph's input."""
        quantised = f"{name}/rounded"
        self.before[name] = self._pair(name, name, quantised)
        for node in self.graph.consumers[name]:
            if self._in_integers(node):
                for index, source in enumerate(node.input):
                    if source == name:
                        node.input[index] = quantised

    def _in_integers(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Conv":
            return any(layer.node is node for layer in self.layers)
        return node.op_type == "Add" and node.output[0].removesuffix("/float") in self.encodings

    def _pair(self, name: str, source: str, target: str) -> list[onnx.NodeProto]:
        encoding = self.encodings[name]
        integer = np.int8 if encoding.signed else np.uint8
        scale = self._constant(f"{name}/scale", np.float32(encoding.scale))
        zero = self._constant(f"{name}/zero", integer(encoding.zero_point))
        whole = f"{name}/integer"
        return [
            helper.make_node("QuantizeLinear", [source, scale, zero], [whole], f"{name}/quantise"),
            helper.make_node(
                "DequantizeLinear", [whole, scale, zero], [target], f"{name}/dequantise"
            ),
        ]

    def _scale_image_at_once(self) -> None:
        """Read the image exactly, in one step for four, where its convolution stays in float.

        Not where the result is quantised: ONNX Runtime would round that convolution's weights too.
        """
        for layer in self.graph.convolutions:
            if layer.source in self.encodings or layer.result in self.encodings:
                continue
            scaling = self.graph.image_scaling(layer.source)
            if scaling is not None:
                self._read_image(layer.source, scaling)

    def _read_image(self, name: str, scaling: ImageScaling) -> None:
        """Pixels are integers already: scale 1 / divisor, zero point the offset, and exact."""
        self.encodings[name] = Encoding(1 / scaling.divisor, scaling.offset, False)
        self.removed += scaling.steps
        moved = f"{name}/integer"
        transpose = onnx.NodeProto()
        transpose.CopyFrom(scaling.transpose)
        transpose.input[0], transpose.output[0] = scaling.image, moved
        self.before[name] = [transpose, self._pair(name, moved, name)[1]]

    def _quantise_weights(self, layer: Convolution) -> None:
        weights = numpy_helper.to_array(self.graph.constants[layer.node.input[1]])
        scales, whole = quantise_weights(weights)
        layer.node.input[1] = self._dequantised(f"{layer.name}/weights", whole, scales, np.int8)
        if self.style == "int8" or len(layer.node.input) < 3:
            return
        bias = numpy_helper.to_array(self.graph.constants[layer.node.input[2]])
        steps = (scales * np.float32(self.encodings[layer.source].scale)).astype(np.float32)
        limit = np.iinfo(np.int32).max
        integers = np.clip(np.rint(bias / steps.astype(np.float64)), -limit, limit)
        layer.node.input[2] = self._dequantised(
            f"{layer.name}/bias", integers.astype(np.int32), steps, np.int32
        )

    def _dequantised(self, name: str, whole: Array, scales: Array, integer: type) -> str:
        inputs = [
            self._constant(f"{name}/integer", whole),
            self._constant(f"{name}/scale", scales),
            self._constant(f"{name}/zero", np.zeros(len(scales), integer)),
        ]
        node = helper.make_node("DequantizeLinear", inputs, [name], f"{name}/dequantise", axis=0)
        self.before[name] = [node]
        return name

    def _constant(self, name: str, value: np.generic | Array) -> str:
        self.graph.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def quantise_weights(weights: Array) -> tuple[Array, Array]:
    """Round weights (out, in, h, w) float32 to int8 with one scale per output channel.

    Returns
    -------
    tuple
        scales (out,) float32 and integers (out, in, h, w) int8 in [-127, 127].
    """
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)))
    scales = (np.maximum(largest, 1e-12) / 127).astype(np.float32)
    spread = scales.reshape(-1, *[1] * (weights.ndim - 1))
    return scales, np.clip(np.rint(weights / spread), -127, 127).astype(np.int8)


def _sorted(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Order nodes so that each comes after what it reads; stable, so equal inputs stay equal."""
    made = {name for node in nodes for name in node.output}
    done: set[str] = set()
    ordered: list[onnx.NodeProto] = []
    waiting = nodes
    while waiting:
        left = []
        for node in waiting:
            if all(name not in made or name in done for name in node.input):
                ordered.append(node)
                done.update(node.output)
            else:
                left.append(node)
        if len(left) == len(waiting):
            raise ValueError(f"the graph has a cycle at {left[0].name or left[0].op_type}")
        waiting = left
    return ordered
