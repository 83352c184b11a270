"""The operators that are allowed: their shapes, types and values are ONNX Runtime's own."""

import numpy as np
import pytest

from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge_runtime.graph_check import DEFAULT_LIMITS, check_graph
from cad_edge_runtime.graph_sizes import Feed, sizes_of
from cad_edge_runtime.graph_summary import ELEMENT_TYPES
from cad_edge_runtime.operator_signatures import SIGNATURES
from cad_edge_runtime.operators import RULES

onnx = pytest.importorskip("onnx")
helper = onnx.helper
F, U8, I8, I32, I64, B = np.float32, np.uint8, np.int8, np.int32, np.int64, np.bool_

TWO = (F, (2, 3, 4))
PICTURE = (F, (2, 4, 9, 7))
ONE_INPUT = {
    **{
        kind: {}
        for kind in (
            *("Abs", "Cos", "Erf", "Exp", "Identity", "Log", "Neg", "Reciprocal", "Relu"),
            *("Shape", "Sigmoid", "Sin", "Softmax", "Sqrt", "Tanh", "Transpose"),
        )
    },
    "ArgMax": {"axis": 1, "keepdims": 0},
    "Cast": {"to": 7},
    "Flatten": {"axis": -1},
}
TWO_INPUTS = (
    *("Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min"),
    *("Mul", "Pow", "Sub"),
)
REDUCTIONS = ("ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
CASES = [
    *((kind, [TWO], attributes) for kind, attributes in ONE_INPUT.items()),
    *((kind, [TWO, (F, (3, 1))], {}) for kind in TWO_INPUTS),
    *(
        (kind, [TWO, np.array([-1, 0])], {"keepdims": keep})
        for kind in REDUCTIONS
        for keep in (0, 1)
    ),
    *((kind, [TWO], {}) for kind in REDUCTIONS),
    ("AveragePool", [PICTURE], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}),
    ("AveragePool", [PICTURE], {"kernel_shape": [4, 4], "strides": [3, 3], "ceil_mode": 1}),
    ("Conv", [PICTURE, (F, (6, 2, 3, 3)), (F, (6,))], {"group": 2, "pads": [1, 1, 0, 2]}),
    ("Conv", [PICTURE, (F, (5, 4, 2, 2))], {"strides": [3, 2], "dilations": [2, 3]}),
    ("Clip", [TWO, np.float32(-1), np.float32(1)], {}),
    ("Concat", [TWO, (F, (2, 5, 4))], {"axis": -2}),
    ("Expand", [(F, (3, 1)), np.array([2, 1, 4])], {}),
    ("Gather", [TWO, (I64, (2, 2))], {"axis": 1}),
    ("Gemm", [(F, (3, 2)), (F, (4, 3)), (F, (4,))], {"transA": 1, "transB": 1}),
    ("LayerNormalization", [TWO, (F, (4,)), (F, (4,))], {"axis": -1}),
    ("MatMul", [(F, (5, 1, 2, 3)), (F, (4, 3, 6))], {}),
    ("MatMul", [(F, (3,)), (F, (4, 3, 6))], {}),
    ("MatMulInteger", [(U8, (2, 3)), (I8, (3, 4))], {}),
    ("Pad", [TWO, np.array([0, 1, 0, 2, 0, -1])], {}),
    ("Pad", [TWO, np.array([3, 1]), None, np.array([-1])], {}),
    ("QuantizeLinear", [TWO, np.float32(0.1), np.int8(0)], {}),
    ("DequantizeLinear", [(U8, (2, 3)), np.float32(0.1), np.uint8(3)], {}),
    ("Range", [np.int64(7), np.int64(-2), np.int64(-2)], {}),
    ("Reshape", [TWO, np.array([0, -1, 2])], {}),
    ("Shape", [TWO], {"start": -2, "end": 9}),
    ("Slice", [TWO, np.array([-1, 0]), np.array([-9, 2]), np.array([2, 1]), np.array([-2, 1])], {}),
    ("Squeeze", [(F, (1, 3, 1)), np.array([-1])], {}),
    ("Squeeze", [(F, (1, 3, 1))], {}),
    ("Transpose", [TWO], {"perm": [1, 2, 0]}),
    ("Unsqueeze", [TWO, np.array([-1, 0])], {}),
    ("Where", [(B, (3, 1)), TWO, (F, (1,))], {}),
    ("Constant", [], {"value_ints": [1, 2, 3]}),
    ("Split", [TWO, np.array([1, 2])], {"axis": 1}),
    ("Split", [(F, (5, 2))], {"num_outputs": 2}),
    ("TopK", [TWO, np.array([2])], {"axis": 1}),
]
OUTPUTS = {"Split": 2, "TopK": 2}


def made(kind: str, inputs, attributes):
    """Return a model of one operator, and what its free inputs are fed."""
    names, weights, ports, feed = [], [], [], {}
    for place, value in enumerate(inputs):
        name = "" if value is None else f"i{place}"
        names.append(name)
        if isinstance(value, tuple):
            dtype, shape = value
            feed[name] = (np.arange(np.prod(shape)).reshape(shape) % 3).astype(dtype)
            kind_of = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            ports.append(
                helper.make_tensor_value_info(name, kind_of, [f"{name}_{n}" for n in shape])
            )
        elif value is not None:
            weights.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    results = [f"o{number}" for number in range(OUTPUTS.get(kind, 1))]
    node = helper.make_node(kind, names, results, **attributes)
    body = helper.make_graph([node], "g", ports, [], weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    found = onnx.shape_inference.infer_shapes(model).graph.value_info
    types = {one.name: one.type.tensor_type.elem_type for one in found}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, types[name], None) for name in results
    )
    return model, feed


def test_every_operator_has_a_rule_a_signature_and_a_case():
    assert RULES.keys() == SIGNATURES.keys() == {kind for kind, _, _ in CASES}


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes"), CASES, ids=[f"{n}-{one[0]}" for n, one in enumerate(CASES)]
)
def test_shapes_and_types_are_those_of_onnx_runtime(tmp_path, kind, inputs, attributes):
    onnxruntime = load_onnxruntime()
    model, feed = made(kind, inputs, attributes)
    (tmp_path / "graph.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, feed)
    summary = check_graph(tmp_path, list(feed), [])
    codes = {dtype: code for code, dtype in ELEMENT_TYPES.items()}
    feeds = {name: Feed(array.shape, codes[array.dtype]) for name, array in feed.items()}
    found = sizes_of(summary, feeds, DEFAULT_LIMITS, 0)
    assert list(found.values()) == [Feed(one.shape, codes[one.dtype]) for one in expected]


SHAPE_WORK = {
    "Add": [2, 3], "Sub": [5, -3], "Mul": [2, 3], "Div": [-7, 2], "Max": [2, 3], "Min": [2, 3],
}  # fmt: skip


@pytest.mark.parametrize("kind", SHAPE_WORK)
def test_sizes_that_are_computed_are_computed_right(tmp_path, kind):
    """A value that is worked out becomes the length of a Range, which ONNX Runtime agrees with."""
    onnxruntime = load_onnxruntime()
    constants = {
        "a": np.int64(SHAPE_WORK[kind][0]),
        "b": np.int64(SHAPE_WORK[kind][1]),
        "low": np.int64(-20),
        "one": np.int64(1),
    }
    weights = [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    nodes = [
        helper.make_node(kind, ["a", "b"], ["end"]),
        helper.make_node("Range", ["low", "end", "one"], ["o"]),
    ]
    out = [helper.make_tensor_value_info("o", 7, None)]
    body = helper.make_graph(nodes, "g", [], out, weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "graph.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(None, {})
    found = sizes_of(check_graph(tmp_path, [], []), {}, DEFAULT_LIMITS, 0)
    assert found["o"].shape == expected.shape


@pytest.mark.parametrize(
    "kind",
    [
        *("Loop", "If", "Scan", "RandomNormal", "RandomUniformLike", "Bernoulli", "Multinomial"),
        *("ConstantOfShape", "Tile", "NonZero", "StringNormalizer", "SequenceEmpty", "Optional"),
        *(
            "Resize",
            "MaxPool",
            "GRU",
            "LSTM",
            "Einsum",
            "MelWeightMatrix",
            "EyeLike",
            "OneHot",
            "Evil",
        ),
    ],
)
def test_everything_else_is_refused(kind):
    assert kind not in RULES
