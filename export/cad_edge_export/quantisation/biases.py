"""Bias correction (Nagel et al. 2019, Data-Free Quantization, section 4.2, with measured means).

Rounding moves the mean of a convolution's output, channel by channel, and what follows sees a shift
that looks like a defect. The mean over calibration images says by how much; the bias takes it back.
Layers are corrected in the order of the graph, since each changes what the next one sees.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from cad_edge_export.onnx_graph import strip
from cad_edge_export.quantisation.float_graph import FloatGraph
from cad_edge_export.quantisation.ranges import Feed, channel_means, open_graph, with_outputs


def correct_biases(float_graph: bytes, quantised_graph: bytes, feeds: Sequence[Feed]) -> bytes:
    """Give every convolution of the quantised graph the channel means that it has in float.

    Parameters
    ----------
    float_graph
        The float graph.
    quantised_graph
        The same graph after `place`.
    feeds
        Calibration inputs.
    """
    names = [layer.name for layer in FloatGraph(float_graph).convolutions]
    aims = channel_means(open_graph(with_outputs(float_graph, names)), feeds, names)
    model = onnx.ModelProto.FromString(quantised_graph)
    constants = {item.name: item for item in model.graph.initializer}
    nodes = {
        node.output[0].removesuffix("/float"): node
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    for name in names:
        node = nodes[name]
        if len(node.input) < 3:
            continue
        output = node.output[0]
        session = open_graph(with_outputs(model.SerializeToString(), [output]))
        missing = aims[name] - channel_means(session, feeds, [output])[output]
        _add(constants, node.input[2], missing)
    return strip(model)


def _add(constants: dict[str, onnx.TensorProto], bias: str, missing: np.ndarray) -> None:
    """Add ``missing`` (channels,) to a float bias or to the integers of a quantised one."""
    if bias in constants:
        value = (numpy_helper.to_array(constants[bias]) + missing).astype(np.float32)
        constants[bias].CopyFrom(numpy_helper.from_array(value, bias))
        return
    name = f"{bias}/integer"
    steps = numpy_helper.to_array(constants[f"{bias}/scale"]).astype(np.float64)
    limit = np.iinfo(np.int32).max
    whole = numpy_helper.to_array(constants[name]) + np.rint(missing / steps)
    value = np.clip(whole, -limit, limit).astype(np.int32)
    constants[name].CopyFrom(numpy_helper.from_array(value, name))
