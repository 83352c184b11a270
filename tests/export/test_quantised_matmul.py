"""Products quantised row by row: hand-worked values, bounds, and what stays in float."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge_export.graph_files import GRAPH, WEIGHTS, open_graph, put_beside
from cad_edge_export.quantisation import matmul
from cad_edge_export.quantisation.matmul import products_in, quantise_products


def graph_of(nodes, constants, rows="m", inputs=64, outputs=("y",)):
    """Graph of x (n, rows, inputs) float32."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows, inputs])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", rows, "k"])
            for name in outputs
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    return {GRAPH: helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()}


def one_product(weight):
    node = helper.make_node("MatMul", ["x", "weight"], ["y"])
    return graph_of([node], {"weight": weight}, inputs=len(weight))


def answer(graph, x):
    return open_graph(graph).run(["y"], {"x": x})[0]


def drawn(rng, *shape):
    return rng.normal(0, 0.1, shape).astype(np.float32)


def test_a_product_is_that_worked_by_hand(monkeypatch):
    monkeypatch.setattr(matmul, "SMALLEST_SIDE", 2)
    graph = quantise_products(one_product(np.array([[1.27, 0.0], [-0.6, 2.54]], np.float32)), set())
    constants = {
        item.name: numpy_helper.to_array(item)
        for item in onnx.load_from_string(graph[GRAPH]).graph.initializer
    }
    assert constants["weight/integer"].tolist() == [[127, 0], [-60, 127]]
    assert constants["weight/integer"].dtype == np.int8
    np.testing.assert_allclose(constants["weight/scale"] * 127, [0.01, 0.02], rtol=1e-6)
    # The first row is 127 and -32 steps of 1 / 127, the last 127 and 0 steps of 2.
    x = np.array([[[1.0, -0.25], [0.0, 0.0], [254.0, 0.0]]], np.float32)
    expected = [[18049 * 0.01 / 127, -4064 * 0.02 / 127], [0, 0], [127 * 127 * 0.01 * 2, 0]]
    np.testing.assert_allclose(answer(graph, x)[0], expected, rtol=1e-6)


def test_no_answer_is_further_off_than_rounding_implies(rng, exact_products):
    weight = drawn(rng, 96, 128) * rng.uniform(0.1, 10, 128).astype(np.float32)
    x = rng.normal(0, 1, (2, 30, 96)).astype(np.float32)
    x[0, 3, 7] = 500  # a massive activation
    got = answer(quantise_products(one_product(weight), set()), x)
    steps = np.abs(weight).max(axis=0) / 127
    nearest = np.rint(weight / steps) * steps
    ranges = np.abs(x).max(axis=2, keepdims=True)
    bound = ranges / 254 * np.abs(nearest).sum(axis=0) + np.abs(x).sum(2, keepdims=True) * steps / 2
    difference = np.abs(got - x.astype(np.float64) @ weight)
    assert (difference <= bound * (1 + 1e-4)).all()
    assert difference.max() > 0
    ordinary = np.delete(difference[0], 3, axis=0)
    assert ordinary.mean() < 0.02 * (x @ weight).std(), "other rows do not pay for the massive one"


def test_answers_do_not_depend_on_the_rest_of_a_batch(rng):
    graph = quantise_products(one_product(drawn(rng, 64, 64)), set())
    x = rng.normal(0, 1, (3, 5, 64)).astype(np.float32)
    alone = answer(graph, x[:1])
    x[1:] *= 1000
    np.testing.assert_array_equal(answer(graph, x)[:1], alone)


@pytest.fixture
def several(rng):
    """Products of all kinds; the first three can be quantised, and two of them read x itself."""
    constants = {
        "first": drawn(rng, 64, 80),
        "second": drawn(rng, 64, 96),
        "third": drawn(rng, 64, 80),
        "bias": drawn(rng, 64),
        "narrow": drawn(rng, 64, 8),
        "twice": drawn(rng, 64, 64),
        "halved": drawn(rng, 64, 64),
        "rows": np.array([-1, 80]),
        "shape": np.array([0, -1, 64]),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("MatMul", ["x", "second"], ["b"]),
        helper.make_node("Reshape", ["a", "rows"], ["flat"]),
        helper.make_node("Gemm", ["flat", "third", "bias"], ["c"], transB=1),
        helper.make_node("Gemm", ["c", "halved"], ["d"], alpha=0.5),
        helper.make_node("MatMul", ["d", "twice"], ["e"]),
        helper.make_node("MatMul", ["e", "twice"], ["f"]),
        helper.make_node("MatMul", ["f", "narrow"], ["g"]),
        helper.make_node("MatMul", ["x", "x"], ["squared"]),
        helper.make_node("Reshape", ["f", "shape"], ["y"]),
    ]
    return graph_of(nodes, constants, rows=64, outputs=("y", "b", "squared"))


def test_what_can_be_quantised(several):
    assert products_in(several) == ["first", "second", "third"]
    assert products_in(quantise_products(several, {"second"})) == ["second"]
    everything = quantise_products(several, set(products_in(several)))
    assert everything is several


def test_a_gemm_keeps_its_sum_and_a_row_is_quantised_once(several, rng, exact_products):
    quantised = quantise_products(several, set())
    kinds = [node.op_type for node in onnx.load_from_string(quantised[GRAPH]).graph.node]
    assert (kinds.count("MatMulInteger"), kinds.count("QuantizeLinear")) == (3, 2)
    x = rng.normal(0, 1, (2, 64, 64)).astype(np.float32)
    in_float, got = (open_graph(graph).run(["y", "b"], {"x": x}) for graph in (several, quantised))
    for one, other in zip(in_float, got, strict=True):
        assert 0 < np.abs(one - other).mean() < 0.02 * one.std()


def test_onnx_runtime_keeps_the_integers(several, tmp_path):
    """Nothing of them is folded into floating point before the graph runs."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    quantised = quantise_products(several, set())
    onnxruntime.InferenceSession(quantised[GRAPH], options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    integers = [node for node in graph.node if node.op_type == "MatMulInteger"]
    assert [kinds[node.input[1]] for node in integers] == [TensorProto.INT8] * 3
    assert not {"first", "second", "third"} & set(kinds)


def test_weights_beside_a_graph_are_quantised_alike(several, rng, monkeypatch):
    model = onnx.load_from_string(several[GRAPH])
    beside = put_beside(model, 0)
    apart = {GRAPH: model.SerializeToString(), **beside}
    whole = quantise_products(several, set())
    assert quantise_products(apart, set()) == whole, "few weights come back into the graph"
    monkeypatch.setattr(matmul, "INLINE_BYTES", 0)
    mapped = quantise_products(apart, set())
    assert set(mapped) == {GRAPH, WEIGHTS} and len(mapped[GRAPH]) < 8192
    # An integer for a weight, but for those that stay, and a page for what each of them starts at.
    integers, floats = 64 * (80 + 96 + 80), 4 * 64 * (8 + 64 + 64)
    assert integers + floats < len(mapped[WEIGHTS]) < integers + floats + 10 * 4096
    x = rng.normal(0, 1, (1, 64, 64)).astype(np.float32)
    np.testing.assert_array_equal(answer(mapped, x), answer(whole, x))


def test_equal_graphs_round_to_equal_bytes(several):
    assert quantise_products(several, set()) == quantise_products(dict(several), set())
