"""Write the golden graphs beside this file; needs the `onnx` package (1.23 wrote those committed).

They let the graph check be tested where `onnx` is not installed, against bytes that it wrote.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data


def port(name: str, shape: list) -> object:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model(nodes, tensors=(), opset=18, domains=(), functions=()) -> bytes:
    graph = helper.make_graph(nodes, "g", [port("x", ["batch", 4])], [port("y", ["batch", 4])])
    graph.initializer.extend(tensors)
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(name, 1) for name in domains]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions)
    return made.SerializeToString(deterministic=True)


def weight(location: str | None = None) -> TensorProto:
    tensor = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    if location is not None:
        set_external_data(tensor, location, offset=0, length=16)
        tensor.ClearField("raw_data")
    return tensor


def branch(name: str, node) -> object:
    return helper.make_graph([node], name, [], [port("z", [None, 4])])


def conditional(domain: str) -> bytes:
    """Hide a node of ``domain`` in the else-branch of an If."""
    yes = branch("yes", helper.make_node("Relu", ["x"], ["z"]))
    no = branch("no", helper.make_node("Gelu", ["x"], ["z"], domain=domain))
    constant = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("If", ["c"], ["y"], then_branch=yes, else_branch=no),
    ]
    return model(nodes, domains=[domain] if domain else [])


def main() -> None:
    add = helper.make_node("Add", ["x", "w"], ["y"])
    call = helper.make_node("Twice", ["x"], ["y"], domain="local")
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opset = [helper.make_opsetid("", 18)]
    twice = helper.make_function("local", "Twice", ["a"], ["b"], body, opset)
    graphs = {
        "plain": model([add], [weight()]),
        "external": model([add], [weight("weights.bin")]),
        "parent": model([add], [weight("../weights.bin")]),
        "opset16": model([add], [weight()], opset=16),
        "foreign": model([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")]),
        "nested": conditional(""),
        "nested_foreign": conditional("com.microsoft"),
        "function": model([call], domains=["local"], functions=[twice]),
    }
    for name, data in graphs.items():
        Path(__file__).with_name(f"{name}.onnx").write_bytes(data)


if __name__ == "__main__":
    main()
