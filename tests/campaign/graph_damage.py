"""Damage to a graph by one who knows ONNX: what loads all the same, or nearly."""

import math
import random
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

_BIG = (0, -1, 1, 2, 7, 255, 1 << 12, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1)
_KINDS = (
    *("Add", "Relu", "Softmax", "MatMul", "Conv", "Transpose", "ReduceMax", "Concat", "Flatten"),
    *("Loop", "If", "Scan", "RandomNormal", "RandomUniformLike", "Bernoulli", "NonZero", "Tile"),
    *("ConstantOfShape", "Expand", "StringNormalizer", "SequenceEmpty", "Cast", "Shape", "Size"),
    *("Identity", "Optional", "Unique", "Resize", "TopK", "GRU", "MelWeightMatrix", "", "Evil"),
)
_ELEMENTS = tuple(range(24))


def damage_graph(data: bytes, chance: random.Random) -> tuple[bytes, dict[str, bytes], str]:
    """Change a graph.

    Returns
    -------
    Its bytes, files that belong beside it, and what was done.
    """
    model = onnx.ModelProto.FromString(data)
    ways = (kind, attribute, weight, outside, ports, wires, insert, insert, opset, results, order)
    way = chance.choice(ways)
    beside = way(model, chance) or {}
    return model.SerializeToString(), beside, way.__name__


def _node(model: Any, chance: random.Random) -> Any:
    return chance.choice(model.graph.node)


def kind(model: Any, chance: random.Random) -> None:
    """Another operator."""
    node = _node(model, chance)
    node.op_type = chance.choice(_KINDS)
    if chance.random() < 0.2:
        node.domain = chance.choice(("com.microsoft", "ai.onnx", "ai.onnx.ml", "evil"))


def attribute(model: Any, chance: random.Random) -> None:
    """Another value, one more or one less."""
    node = _node(model, chance)
    if node.attribute and chance.random() < 0.8:
        one = chance.choice(node.attribute)
        if one.ints:
            one.ints[chance.randrange(len(one.ints))] = chance.choice(_BIG)
        elif one.type == onnx.AttributeProto.INT:
            one.i = chance.choice(_BIG)
        elif chance.random() < 0.5:
            one.type = chance.choice((1, 2, 3, 4, 5, 6, 7, 8))
        else:
            node.attribute.remove(one)
        return
    name = chance.choice(("axis", "axes", "perm", "pads", "group", "to", "keepdims", "body"))
    value: Any = chance.choice((chance.choice(_BIG), [chance.choice(_BIG)] * 4, "x", 1.5))
    node.attribute.append(helper.make_attribute(name, value))


def weight(model: Any, chance: random.Random) -> None:
    """Another shape, type or value."""
    if not model.graph.initializer:
        return kind(model, chance)
    one = chance.choice(model.graph.initializer)
    way = chance.randrange(5)
    if way == 0 and one.dims:
        one.dims[chance.randrange(len(one.dims))] = chance.choice(_BIG)
    elif way == 1:
        one.data_type = chance.choice(_ELEMENTS)
    elif way == 2:
        one.ClearField("raw_data")
    elif way == 3:
        shape = [chance.choice((1, 2, 3, 8, 65, 4096)) for _ in range(chance.randrange(4))]
        one.CopyFrom(TensorProto(name=one.name, data_type=1, dims=shape))
        one.raw_data = bytes(4 * min(math.prod(shape), 1 << 20))
    elif one.raw_data and one.data_type == TensorProto.INT64:
        values = numpy_helper.to_array(one).copy()
        values.flat[chance.randrange(values.size)] = chance.choice(_BIG)
        one.raw_data = values.tobytes()
    else:
        one.name = chance.choice(("image", "x", "", one.name + "2"))
    return None


def outside(model: Any, chance: random.Random) -> dict[str, bytes]:
    """Weights in another file."""
    tensor = model.graph.initializer.add(
        name="far", data_type=1, dims=[chance.choice((4, 1 << 30))]
    )
    tensor.data_location = TensorProto.EXTERNAL
    where = chance.choice(("w.bin", "../w.bin", "/etc/hostname", "graph.onnx", "", "w.bin/x"))
    tensor.external_data.add(key="location", value=where)
    if chance.random() < 0.5:
        tensor.external_data.add(key="offset", value=str(chance.choice(_BIG)))
    return {"w.bin": bytes(16)} if chance.random() < 0.7 else {}


def ports(model: Any, chance: random.Random) -> None:
    """Inputs and outputs of another name, type or shape, or twice."""
    held = chance.choice((model.graph.input, model.graph.output))
    one = chance.choice(held)
    way = chance.randrange(5)
    if way == 0:
        one.name = chance.choice(("x", "", "score", "image"))
    elif way == 1:
        one.type.tensor_type.elem_type = chance.choice(_ELEMENTS)
    elif way == 2 and one.type.tensor_type.shape.dim:
        chance.choice(one.type.tensor_type.shape.dim).dim_value = chance.choice((*_BIG[:7], 1))
    elif way == 3:
        held.append(one)
    elif chance.random() < 0.5:
        one.type.tensor_type.ClearField("shape")
    else:
        one.type.CopyFrom(helper.make_sequence_type_proto(one.type))


def wires(model: Any, chance: random.Random) -> None:
    """Another value goes into an operator."""
    node = _node(model, chance)
    names = [name for one in model.graph.node for name in (*one.input, *one.output)]
    if node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice((*names, "", "nowhere"))


def insert(model: Any, chance: random.Random) -> None:
    """Something enormous, or endless, before an output."""
    graph, output = model.graph, chance.choice(model.graph.output).name
    inner = output + "_before"
    for node in graph.node:
        for number, name in enumerate(node.output):
            if name == output:
                node.output[number] = inner
    size = chance.choice((1 << 10, 1 << 24, 1 << 28, 1 << 33, 1 << 62))
    shape = chance.choice(([size], [size, size], [1 << 14, 1 << 14], [3, 0, size]))
    graph.initializer.append(helper.make_tensor("far_shape", 7, [len(shape)], shape))
    made = chance.choice((_constant, _expanded, _looped, _multiplied, _cast, _shaped, _counted))
    graph.node.extend(made(inner, output, chance))


def _sum_into(big: str, inner: str, output: str) -> list[Any]:
    return [
        helper.make_node("ReduceMax", [big], ["far_peak"], keepdims=0),
        helper.make_node("Add", [inner, "far_peak"], [output]),
    ]


def _constant(inner: str, output: str, chance: random.Random) -> list[Any]:
    return [
        helper.make_node("ConstantOfShape", ["far_shape"], ["far"]),
        *_sum_into("far", inner, output),
    ]


def _expanded(inner: str, output: str, chance: random.Random) -> list[Any]:
    peak = helper.make_node("ReduceMax", [inner], ["far_one"], keepdims=0)
    big = helper.make_node("Expand", ["far_one", "far_shape"], ["far"])
    return [peak, big, *_sum_into("far", inner, output)]


def _looped(inner: str, output: str, chance: random.Random) -> list[Any]:
    same = helper.make_node("Identity", ["go"], ["goes"])
    ports = [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("go", 9, [])]
    body = helper.make_graph([same], "b", ports, [helper.make_tensor_value_info("goes", 9, [])])
    rounds = helper.make_tensor("n", 7, [], [10**18])
    return [
        helper.make_node("Constant", [], ["far_rounds"], value=rounds),
        helper.make_node("Loop", ["far_rounds", ""], [], body=body),
        helper.make_node("Identity", [inner], [output]),
    ]


def _multiplied(inner: str, output: str, chance: random.Random) -> list[Any]:
    flat = helper.make_tensor("to", 7, [2], [-1, 1])
    back = helper.make_tensor("to", 7, [2], [1, -1])
    return [
        helper.make_node("Constant", [], ["far_tall"], value=flat),
        helper.make_node("Constant", [], ["far_wide"], value=back),
        helper.make_node("Reshape", [inner, "far_tall"], ["far_a"]),
        helper.make_node("Reshape", [inner, "far_wide"], ["far_b"]),
        helper.make_node("MatMul", ["far_a", "far_b"], ["far_c"]),
        helper.make_node("MatMul", ["far_c", "far_c"], ["far"]),
        *_sum_into("far", inner, output),
    ]


def _cast(inner: str, output: str, chance: random.Random) -> list[Any]:
    return [helper.make_node("Cast", [inner], [output], to=chance.choice(_ELEMENTS))]


def _shaped(inner: str, output: str, chance: random.Random) -> list[Any]:
    return [
        chance.choice(
            (
                helper.make_node("Unsqueeze", [inner, "far_shape"], [output]),
                helper.make_node("Flatten", [inner], [output], axis=0),
                helper.make_node("ReduceMax", [inner], [output], keepdims=0),
                helper.make_node("Concat", [inner, inner], [output], axis=0),
                helper.make_node("Reshape", [inner, "far_shape"], [output]),
                helper.make_node("Shape", [inner], [output]),
            )
        )
    ]


def _counted(inner: str, output: str, chance: random.Random) -> list[Any]:
    limit = helper.make_tensor("n", 7, [], [chance.choice(_BIG)])
    return [
        helper.make_node("Constant", [], ["far_limit"], value=limit),
        helper.make_node("Constant", [], ["far_0"], value_int=0),
        helper.make_node("Constant", [], ["far_1"], value_int=1),
        helper.make_node("Range", ["far_0", "far_limit", "far_1"], ["far_i"]),
        helper.make_node("Cast", ["far_i"], ["far"], to=1),
        *_sum_into("far", inner, output),
    ]


def opset(model: Any, chance: random.Random) -> None:
    """Another version, or a file that states several."""
    model.opset_import[0].version = chance.choice((0, 1, 13, 17, 18, 20, 21, 99, -1))
    model.ir_version = chance.choice((1, 3, 8, 10, 99, 1 << 40))


def results(model: Any, chance: random.Random) -> None:
    """An output that is gone, is one more, or is another value."""
    outputs = model.graph.output
    if len(outputs) > 1 and chance.random() < 0.5:
        outputs.pop(chance.randrange(len(outputs)))
        return
    names = [name for node in model.graph.node for name in node.output]
    value = chance.choice((1, 7, 9))
    outputs.append(
        helper.make_tensor_value_info(chance.choice((*names, "probability")), value, None)
    )


def order(model: Any, chance: random.Random) -> None:
    """Operators in another order, twice or one less."""
    node = model.graph.node.pop(chance.randrange(len(model.graph.node)))
    for _ in range(chance.randrange(3)):
        model.graph.node.insert(chance.randrange(len(model.graph.node) + 1), node)
