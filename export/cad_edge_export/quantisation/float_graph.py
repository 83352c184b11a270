"""A float graph as quantisation sees it: convolutions, clips behind them, residual additions."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import numpy_helper


@dataclass(frozen=True)
class Convolution:
    """A convolution whose weights are constant."""

    name: str
    """Its output, which is unique and the same however often the graph is exported."""
    node: onnx.NodeProto
    source: str
    """Tensor that it convolves."""
    result: str
    """What leaves it: its output, or that of the clip that alone reads the output."""
    top: float | None
    """Upper end of a clip that starts at zero (6 for ReLU6), None without one."""


@dataclass(frozen=True)
class ImageScaling:
    """(image - offset) / divisor of a uint8 image, channels moved to the front."""

    image: str
    transpose: onnx.NodeProto
    steps: tuple[onnx.NodeProto, ...]
    """All nodes between image and result."""
    offset: int
    divisor: float


class FloatGraph:
    """A parsed float32 graph with its producers, consumers and constants."""

    def __init__(self, serialised: bytes) -> None:
        self.model = onnx.ModelProto.FromString(serialised)
        graph = self.model.graph
        self.constants = {item.name: item for item in graph.initializer}
        self.inputs = {value.name for value in graph.input}
        self.outputs = {value.name for value in graph.output}
        self.producer = {name: node for node in graph.node for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.convolutions = list(self._convolutions())

    def _convolutions(self) -> Iterator[Convolution]:
        for node in self.model.graph.node:
            if node.op_type == "Conv" and node.input[1] in self.constants:
                result, top = self._clipped(node.output[0])
                yield Convolution(node.output[0], node, node.input[0], result, top)

    def _clipped(self, name: str) -> tuple[str, float | None]:
        readers = self.consumers.get(name, [])
        if name in self.outputs or len(readers) != 1 or readers[0].op_type != "Clip":
            return name, None
        low, high = (self.number(bound) for bound in readers[0].input[1:3])
        return (readers[0].output[0], high) if low == 0.0 else (name, None)

    def number(self, name: str) -> float | None:
        """Value of a constant of one element, None if ``name`` is not one."""
        constant = self.constants.get(name)
        if constant is None:
            return None
        values = numpy_helper.to_array(constant)
        return float(values.reshape(())) if values.size == 1 else None

    def additions(self) -> list[onnx.NodeProto]:
        """Every addition of two tensors that are not constants, in the order of the graph."""
        return [
            node
            for node in self.model.graph.node
            if node.op_type == "Add" and not any(name in self.constants for name in node.input)
        ]

    def image_scaling(self, name: str) -> ImageScaling | None:
        """How ``name`` comes from a uint8 image, if it is Cast, Transpose, Sub and Div of one."""
        steps = []
        current = name
        for kind in ("Div", "Sub", "Transpose", "Cast"):
            node = self.producer.get(current)
            if node is None or node.op_type != kind or len(self.consumers[current]) != 1:
                return None
            steps.append(node)
            current = node.input[0]
        divide, subtract, transpose, _ = steps
        offset, divisor = self.number(subtract.input[1]), self.number(divide.input[1])
        if current not in self.inputs or offset is None or divisor is None:
            return None
        if offset != round(offset) or not 0 <= offset <= 255:
            return None
        return ImageScaling(current, transpose, tuple(steps), round(offset), divisor)
