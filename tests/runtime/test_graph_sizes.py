"""Sizes of graphs: what a kilobyte may not ask for, and figures that are ONNX Runtime's own."""

import itertools
import resource
import sys
import time
from dataclasses import replace

import pytest

from cad_edge.errors import GraphError
from cad_edge_runtime import Detector
from cad_edge_runtime.graph_check import DEFAULT_LIMITS, check_graph
from cad_edge_runtime.graph_sizes import Feed, sizes_of
from cad_edge_runtime.protobuf import WireError
from tests.runtime.onnx_bytes import field, free_port, model, numbers, operation

pytestmark = pytest.mark.torchless

IMAGE = Feed((1, 32, 32, 3), 2)


def graph(*operations: bytes, image=("batch", 32, 32, 3), score=("batch",)) -> bytes:
    """(image uint8) -> score; ``operations`` lead from "x" float32 to "y"."""
    cast = operation("Cast", ["image"], ["x"], to=1)
    peak = operation("ReduceMax", ["y", "axes"], ["score"], keepdims=0)
    ports = field(11, free_port("image", image, 2)) + field(12, free_port("score", score))
    return model(
        cast + b"".join(operations) + peak + numbers("axes", [1, 2, 3]) + field(2, "g") + ports
    )


WIDE = 1 << 20
TOO_MUCH = {
    "expanded": (
        operation("Expand", ["x", "wide"], ["y"]) + numbers("wide", [1 << 17, 32, 32, 3]),
        "Expand takes its values to",
    ),
    "counted": (
        numbers("zero", [0], scalar=True)
        + numbers("end", [1 << 40], scalar=True)
        + numbers("one", [1], scalar=True)
        + operation("Range", ["zero", "end", "one"], ["r"])
        + operation("Cast", ["r"], ["f"], to=1)
        + operation("ReduceMax", ["f"], ["peak"], keepdims=0)
        + operation("Add", ["x", "peak"], ["y"]),
        "Range takes its values to",
    ),
    "padded": (
        operation("Pad", ["x", "pads"], ["y"]) + numbers("pads", [0, 0, 0, 0, 0, WIDE, WIDE, 0]),
        "Pad takes its values to",
    ),
    "outer product": (
        numbers("tall", [-1, 1])
        + numbers("flat", [1, -1])
        + operation("Reshape", ["x", "tall"], ["a"])
        + operation("Reshape", ["x", "flat"], ["b"])
        + operation("MatMul", ["a", "b"], ["c"])
        + operation("MatMul", ["c", "c"], ["d"])
        + operation("ReduceMax", ["d"], ["peak"], keepdims=0)
        + operation("Add", ["x", "peak"], ["y"]),
        "multiplications up to its MatMul",
    ),
    "broadcast": (
        numbers("tall", [-1, 1, 1])
        + numbers("flat", [1, -1, 1])
        + numbers("deep", [1, 1, -1])
        + operation("Reshape", ["x", "tall"], ["a"])
        + operation("Reshape", ["x", "flat"], ["b"])
        + operation("Reshape", ["x", "deep"], ["c"])
        + operation("Add", ["a", "b"], ["ab"])
        + operation("Add", ["ab", "c"], ["abc"])
        + operation("ReduceMax", ["abc"], ["peak"], keepdims=0)
        + operation("Add", ["x", "peak"], ["y"]),
        "Add takes its values to",
    ),
    "doubled again and again": (
        b"".join(
            operation("Concat", [f"x{n}" if n else "x"] * 2, [f"x{n + 1}"], axis=1)
            for n in range(40)
        )
        + operation("Concat", ["x40"], ["y"], axis=1),
        "Concat takes its values to",
    ),
    "gathered": (
        operation("Shape", ["x"], ["s"])
        + operation("Expand", ["s", "wide"], ["many"])
        + numbers("wide", [1 << 28, 4])
        + operation("ReduceMax", ["many"], ["peak"], keepdims=0)
        + operation("Cast", ["peak"], ["p"], to=1)
        + operation("Add", ["x", "p"], ["y"]),
        "Expand takes its values to",
    ),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_asks_for_too_much_is_refused_before_there_is_a_session(bundle, workshop, name):
    operations, words = TOO_MUCH[name]
    workshop.change_graph("blue", graph(operations))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with pytest.raises(GraphError, match=words) as problem:
        Detector.open(bundle, watch=False)
    assert time.monotonic() - began < 5
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit < 300
    assert "graph.onnx" in str(problem.value) and len(str(problem.value)) < 600


MISFITS = {
    "used before": operation("Relu", ["z"], ["y"]) + operation("Relu", ["x"], ["z"]),
    "another size": operation("Add", ["x", "four"], ["y"]) + numbers("four", [1] * 4),
    "no axis": operation("Concat", ["x", "x"], ["y"], axis=9),
    "axes by value": operation("Transpose", ["x"], ["y"], perm=[0, 1, 2, 2]),
    "type": operation("Relu", ["image"], ["z"]) + operation("MatMul", ["x", "z"], ["y"]),
    "attribute": operation("Relu", ["x"], ["y"], axis=1),
    "unknown shape": operation("Cast", ["x"], ["i"], to=7)
    + operation("Reshape", ["x", "i"], ["y"]),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_together_is_refused_before_there_is_a_session(
    bundle, workshop, created, name
):
    workshop.change_graph("blue", graph(MISFITS[name]))
    with pytest.raises(GraphError, match=r"graph\.onnx is refused: "):
        Detector.open(bundle, watch=False)
    assert not created


def read(tmp_path, data: bytes):
    (tmp_path / "graph.onnx").write_bytes(data)
    return check_graph(tmp_path, ["image"], ["score"])


def test_sizes_are_those_of_the_frame(tmp_path):
    found = read(tmp_path, graph(operation("Relu", ["x"], ["y"])))
    assert sizes_of(found, {"image": IMAGE}, DEFAULT_LIMITS, 0) == {"score": Feed((1,), 1)}
    three = Feed((3, 32, 32, 3), 2)
    assert sizes_of(found, {"image": three}, DEFAULT_LIMITS, 0, 3) == {"score": Feed((3,), 1)}
    with pytest.raises(WireError, match=r"'image' as uint8 of shape \(batch, 32, 32, 3\)"):
        sizes_of(found, {"image": Feed((1, 32, 31, 3), 2)}, DEFAULT_LIMITS, 0)


def test_an_input_without_a_shape_takes_any(tmp_path):
    """As a single number that was stored as a list of one."""
    found = read(tmp_path, graph(operation("Relu", ["x"], ["y"]), image=()))
    assert sizes_of(found, {"image": IMAGE}, DEFAULT_LIMITS, 0) == {"score": Feed((1,), 1)}


def test_bounds_are_those_that_the_caller_sets(tmp_path):
    found = read(tmp_path, graph(operation("Relu", ["x"], ["y"])))
    least = 32 * 32 * 3 * 4  # bytes of x, and of y before x is freed
    wide = replace(DEFAULT_LIMITS, memory_by_weights=0, products_by_numbers=0)
    sizes_of(found, {"image": IMAGE}, replace(wide, memory=2 * least), 0)
    with pytest.raises(WireError, match="Relu takes its values to"):
        sizes_of(found, {"image": IMAGE}, replace(wide, memory=2 * least - 1), 0)
    with pytest.raises(WireError, match=r"more than 7\.3e\+04 multiplications"):
        sizes_of(found, {"image": IMAGE}, replace(wide, products=73_000), 0)


def test_what_is_no_longer_needed_is_not_counted(tmp_path):
    names = ["x", *(f"v{number}" for number in range(200)), "y"]
    chain = b"".join(
        operation("Relu", [before], [after]) for before, after in itertools.pairwise(names)
    )
    found = read(tmp_path, graph(chain))
    least = replace(DEFAULT_LIMITS, memory=3 * 32 * 32 * 3 * 4, memory_by_weights=0)
    assert sizes_of(found, {"image": IMAGE}, least, 0)["score"].shape == (1,)


@pytest.mark.parametrize("declared", [("batch", 2), (), (7,)])
def test_an_output_that_is_not_as_declared(bundle, workshop, declared):
    data = graph(operation("Relu", ["x"], ["y"]), score=declared)
    workshop.change_graph("blue", data)
    if declared:
        with pytest.raises(GraphError, match="declares the output 'score' as other than"):
            Detector.open(bundle, watch=False)


def test_a_batch_of_one_alone_is_refused(bundle, workshop):
    one = numbers("one", [1, 32, 32, 3]) + operation("Reshape", ["x", "one"], ["y"])
    workshop.change_graph("blue", graph(one))
    with pytest.raises(GraphError, match=r"Reshape cannot be run: it reads \[2, 32, 32, 3\]"):
        Detector.open(bundle, watch=False)
