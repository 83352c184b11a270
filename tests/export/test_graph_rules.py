"""What every graph keeps to, so that TensorRT takes it and nothing of the workstation travels."""

import re
from pathlib import Path

import onnx
import pytest

from cad_edge.store.bundle import Bundle
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from cad_edge_runtime.operators import RULES
from tests.training.small_products import NAMES, quiet

# TensorRT 10: operators that it does not have, or only with data-dependent shapes.
FORBIDDEN = {
    *("AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"),
    *("Col2Im", "CenterCropPad", "Compress", "ConvInteger", "DFT", "Det", "DynamicQuantizeLinear"),
    *("ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial"),
    *("NegativeLogLikelihoodLoss", "NonZero", "QLinearConv", "QLinearMatMul", "RegexFullMatch"),
    *("SoftmaxCrossEntropyLoss", "SplitToSequence", "TfIdfVectorizer", "Unique", "Attention"),
}
PATCHES = 3840  # TopK takes fewer


@pytest.fixture(scope="module")
def key_set(tiny, dinov2, tmp_path_factory) -> Path:
    """The untrained transformer with the published selector, one task fused."""
    bundle = tmp_path_factory.mktemp("key-set") / "bundle"
    plan = ExportPlan("fused", selector="key_set", backbone=f"dinov2:{dinov2}")
    export_artifacts([tiny / NAMES[0]], bundle, plan, quiet)
    return bundle


@pytest.fixture(scope="module")
def graphs(shared, fused, tiny_first, key_set) -> dict[str, tuple[bytes, onnx.ModelProto]]:
    found = {}
    for path in (shared, fused, tiny_first, key_set):
        for file in sorted((path / "objects").glob("*/graph.onnx")):
            data = file.read_bytes()
            found[file.parent.name] = (data, onnx.load_from_string(data))
    return found


def nodes(graph: onnx.GraphProto):
    """Every node, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def test_there_are_graphs_of_every_kind(graphs):
    inputs = {tuple(sorted(one.name for one in model.graph.input)) for _, model in graphs.values()}
    assert ("image",) in inputs
    assert ("bias", "descriptor", "keys", "matrix") in inputs and ("keys", "patches") in inputs
    assert any("hidden" in names for names in inputs)


def test_standard_operators_of_opset_17_to_20_alone(graphs):
    for _, model in graphs.values():
        onnx.checker.check_model(model, full_check=True)
        assert [opset.domain for opset in model.opset_import] == [""]
        assert 17 <= model.opset_import[0].version <= 20
        assert {node.domain for node in nodes(model.graph)} == {""}
        assert not model.functions


def test_operators_are_those_that_the_device_allows(graphs):
    kinds = {node.op_type for _, model in graphs.values() for node in nodes(model.graph)}
    assert kinds and kinds <= RULES.keys()


def test_no_operator_that_tensorrt_refuses(graphs):
    for _, model in graphs.values():
        for node in nodes(model.graph):
            kind = node.op_type
            assert kind not in FORBIDDEN and not kind.startswith(("Sequence", "Optional", "String"))
            values = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            if kind == "Resize":
                assert not values.get("antialias") and values.get("mode") != b"cubic"
            if kind == "TopK":
                assert values.get("sorted", 1) == 1 and 0 < constant(model, node.input[1]) < PATCHES
            if kind.startswith("Reduce") and len(node.input) > 1:
                assert constant(model, node.input[1]) is not None


def constant(model: onnx.ModelProto, name: str) -> int | None:
    """First value of an initializer or constant; None if it is computed."""
    for one in model.graph.initializer:
        if one.name == name:
            return int(onnx.numpy_helper.to_array(one).flatten()[0])
    for node in model.graph.node:
        if name in node.output and node.op_type == "Constant":
            value = onnx.helper.get_attribute_value(node.attribute[0])
            return int(onnx.numpy_helper.to_array(value).flatten()[0])
    return None


def test_uint8_image_is_cast_before_anything_else(graphs):
    seen = 0
    for _, model in graphs.values():
        for value in model.graph.input:
            if value.name == "image":
                assert value.type.tensor_type.elem_type == onnx.TensorProto.UINT8
                users = [node.op_type for node in nodes(model.graph) if "image" in node.input]
                assert users == ["Cast"]
                seen += 1
    assert seen >= 4


def test_only_the_batch_and_the_number_of_tasks_vary(graphs):
    for _, model in graphs.values():
        for value in (*model.graph.input, *model.graph.output):
            axes = value.type.tensor_type.shape.dim
            dynamic = [index for index, axis in enumerate(axes) if axis.dim_param]
            named = {axis.dim_param for axis in axes if axis.dim_param}
            if value.name in ("image", "hidden", "descriptor", "patches", "score", "anomaly_map"):
                assert dynamic == [0] and named == {"batch"}, value.name
            elif value.name == "keys":
                assert dynamic == [0] and named == {"keys_0"}
            elif value.name == "distance":
                assert dynamic == [0, 1]
            else:
                assert dynamic == [], value.name


def test_nothing_of_the_workstation_is_inside(graphs, products):
    home = str(Path.home()).encode()
    for data, model in graphs.values():
        assert model.producer_name == "cad-edge" and not model.producer_version
        assert not model.doc_string and not model.metadata_props and not model.graph.metadata_props
        for node in nodes(model.graph):
            assert not node.doc_string and not node.metadata_props
        for word in (b"torch", b".py", b"site-packages", b"Traceback", b"File ", home + b"/"):
            assert word not in readable(data), word
        assert not re.search(rb"/[a-z]+/[a-z_.-]+/", readable(data))


def readable(data: bytes) -> bytes:
    """Runs of printable characters long enough to be words, not weights that look like some."""
    return b"\n".join(re.findall(rb"[\x20-\x7e]{5,}", data))


def test_nothing_of_the_workstation_is_in_the_manifest(shared, key_set, lite0, dinov2):
    for path in (shared, key_set):
        text = "".join(file.read_text() for file in (path / "manifests").iterdir())
        for place in (lite0, dinov2.parent, path, Path(__file__).parents[2]):
            assert str(place) not in text


def test_weights_are_inside_the_graph(graphs):
    for _, model in graphs.values():
        external = onnx.TensorProto.EXTERNAL
        assert all(one.data_location != external for one in model.graph.initializer)


def test_runtime_opens_every_graph(shared, fused, tiny_first, key_set):
    for path in (shared, fused, tiny_first, key_set):
        with Detector.open(path, device="cpu", watch=False) as detector:
            assert detector.tasks() == tuple(sorted(Bundle(path).manifest().tasks))
