"""Eight bits: placement by hand-worked values, real exports, and what is refused."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cad_edge.errors import BundleError, CertificateError, DatasetError, OptionError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Quantisation
from cad_edge_export.exporter import export_folder
from cad_edge_export.plan import ExportPlan
from cad_edge_export.quantisation import quantiser
from cad_edge_export.quantisation.biases import correct_biases
from cad_edge_export.quantisation.evidence import EngineScores, holds, require, weigh
from cad_edge_export.quantisation.float_graph import FloatGraph
from cad_edge_export.quantisation.placement import (
    Encoding,
    Range,
    place,
    quantise_weights,
    quantised_tensors,
)
from cad_edge_export.quantisation.ranges import (
    best_range,
    measure_ranges,
    open_graph,
    with_outputs,
)
from cad_edge_runtime import Detector
from tests.training.small_products import NAMES, learn, quiet, stream_of

QUANTISERS = ("QuantizeLinear", "DequantizeLinear")


def small_graph() -> bytes:
    """(image - 127) / 128, convolution, ReLU6, depthwise, ReLU6, 1x1, added to the first ReLU6."""
    rng = np.random.default_rng(0)
    sizes = {"first": (8, 3, 3, 3), "second": (8, 1, 3, 3), "third": (8, 8, 1, 1)}
    constants = {
        "offset": np.float32(127),
        "divisor": np.float32(128),
        "zero": np.float32(0),
        "six": np.float32(6),
        **{name: rng.normal(0, 0.5, size).astype(np.float32) for name, size in sizes.items()},
        **{f"{name}_bias": rng.normal(0, 0.5, 8).astype(np.float32) for name in sizes},
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["moved"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["moved", "offset"], ["centred"]),
        helper.make_node("Div", ["centred", "divisor"], ["pixels"]),
        helper.make_node("Conv", ["pixels", "first", "first_bias"], ["a"], pads=[1] * 4),
        helper.make_node("Clip", ["a", "zero", "six"], ["b"]),
        helper.make_node("Conv", ["b", "second", "second_bias"], ["c"], pads=[1] * 4, group=8),
        helper.make_node("Clip", ["c", "zero", "six"], ["d"]),
        helper.make_node("Conv", ["d", "third", "third_bias"], ["e"]),
        helper.make_node("Add", ["e", "b"], ["hidden"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 16, 16, 3])],
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["n", 8, 16, 16])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


@pytest.fixture(scope="module")
def feeds():
    """Images in two batches."""
    images = np.random.default_rng(1).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    return [{"image": images[:4]}, {"image": images[4:]}]


def quantised(feeds, style, kept=frozenset()):
    """Place quantisers in the small graph; the graph and its ranges."""
    names = quantised_tensors(FloatGraph(small_graph()), kept)
    ranges = measure_ranges(small_graph(), feeds, names, style)
    return place(FloatGraph(small_graph()), ranges, style, kept), ranges


def test_encodings_are_those_worked_by_hand():
    assert Encoding.of(Range(-2.0, 6.35), "int8") == Encoding(pytest.approx(0.05), 0, True)
    assert Encoding.of(Range(0.0, 5.1), "uint8") == Encoding(pytest.approx(0.02), 0, False)
    assert Encoding.of(Range(-1.0, 1.55), "uint8") == Encoding(pytest.approx(0.01), 100, False)
    assert Encoding.of(Range(2.0, 5.1), "uint8").zero_point == 0, "zero must stay exact"


def test_values_come_back_as_worked_by_hand():
    unsigned = Encoding(0.5, 10, False)
    assert unsigned.quantised(np.array([-9.0, 0.2, 0.3, 200.0])).tolist() == [-5.0, 0.0, 0.5, 122.5]
    signed = Encoding(0.5, 0, True)
    assert signed.quantised(np.array([-70.0, 1.0, 70.0])).tolist() == [-64.0, 1.0, 63.5]


def test_a_range_gives_up_what_few_values_need():
    widest = Range(0.0, 100.0)
    low, far = np.zeros(1000, np.int64), np.zeros(1000, np.int64)
    low[:310] = 1000  # up to 31; nothing above is seen
    assert best_range(low, widest, "uint8").high == pytest.approx(32.0, abs=1.01)
    far[:310] = 1000
    far[-1] = 100_000  # as often at the far end: giving it up would cost most
    assert best_range(far, widest, "uint8") == pytest.approx(widest)


def test_weights_round_per_channel():
    weights = np.array([[[[1.27, -0.5]]], [[[0.0, 254.0]]]], dtype=np.float32)
    scales, whole = quantise_weights(weights)
    assert scales == pytest.approx([0.01, 2.0])
    assert whole.tolist() == [[[[127, -50]]], [[[0, 127]]]]


@pytest.mark.parametrize("style", ["int8", "uint8"])
def test_a_quantised_graph_stays_close(feeds, style, exact_products):
    graph, _ = quantised(feeds, style)
    in_float = open_graph(small_graph()).run(None, feeds[0])[0]
    error = open_graph(graph).run(None, feeds[0])[0] - in_float
    assert 0 < np.sqrt(np.mean(error**2)) < 0.05 * in_float.std()


def test_int8_keeps_the_rules_of_tensorrt(feeds):
    graph = onnx.ModelProto.FromString(quantised(feeds, "int8")[0]).graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in QUANTISERS]
    assert pairs
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
    cast = next(node for node in graph.node if "image" in node.input)
    assert cast.op_type == "Cast"
    clipped = {node.output[0] for node in graph.node if node.op_type == "Clip"}
    for node in graph.node:
        if node.op_type == "Conv":
            after = [one.op_type for one in graph.node if node.output[0] in one.input]
            assert after == ["Clip"] or node.output[0] not in clipped


def test_uint8_reads_the_image_as_it_is(feeds):
    graph = onnx.ModelProto.FromString(quantised(feeds, "uint8")[0]).graph
    kinds = [node.op_type for node in graph.node]
    assert not {"Cast", "Sub", "Div"} & set(kinds)
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    assert (constants["pixels/scale"], constants["pixels/zero"]) == (1 / 128, 127)


def test_uint8_reads_the_image_as_it_is_for_float_layers_too(feeds):
    """Unless the result is quantised: then ONNX Runtime would round the weights."""
    for kept, steps in ({"a", "c"}, 0), ({"a"}, 3):
        serialised, _ = quantised(feeds, "uint8", kept)
        kinds = [node.op_type for node in onnx.ModelProto.FromString(serialised).graph.node]
        assert sum(kinds.count(kind) for kind in ("Cast", "Sub", "Div")) == steps
    names = ["pixels", "b"]
    in_float = open_graph(with_outputs(small_graph(), names)).run(names, feeds[0])
    serialised, _ = quantised(feeds, "uint8", {"a", "c"})
    found = open_graph(with_outputs(serialised, names)).run(names, feeds[0])
    assert np.array_equal(found[0], in_float[0])
    assert np.abs(found[1] - in_float[1]).max() < 1e-6


def test_layers_that_stay_are_computed_in_float(feeds):
    everything = {layer.name for layer in FloatGraph(small_graph()).convolutions}
    graph, _ = quantised(feeds, "uint8", everything)
    in_float = open_graph(small_graph()).run(None, feeds[0])[0]
    assert np.abs(open_graph(graph).run(None, feeds[0])[0] - in_float).max() < 1e-5


@pytest.mark.parametrize("style", ["int8", "uint8"])
def test_bias_correction_brings_the_means_back(feeds, style, exact_products):
    graph, _ = quantised(feeds, style)
    moved = onnx.ModelProto.FromString(graph)
    names = {item.name: item for item in moved.graph.initializer}
    bias = "third_bias" if style == "int8" else "e/bias/integer"
    value = numpy_helper.to_array(names[bias])
    step = 1.0 if style == "int8" else 1 / numpy_helper.to_array(names["e/bias/scale"])
    names[bias].CopyFrom(numpy_helper.from_array((value + step).astype(value.dtype), bias))
    corrected = correct_biases(small_graph(), moved.SerializeToString(), feeds)

    def means(serialised):
        session = open_graph(serialised)
        return np.mean([session.run(None, feed)[0].mean((0, 2, 3)) for feed in feeds], axis=0)

    in_float = means(small_graph())
    assert np.abs(means(moved.SerializeToString()) - in_float).min() > 0.5
    assert np.abs(means(corrected) - in_float).max() < 0.05


def evidence(**changed) -> Quantisation:
    """Evidence of 20 images that holds, with ``changed`` values."""
    in_float = EngineScores(np.zeros(4), np.arange(10.0), np.arange(10.0) + 10)
    moved = EngineScores(np.ones(4), np.arange(10.0) + 1, np.arange(10.0) + 11)
    return weigh(in_float, moved, 9.5, ["0/conv"], 4).model_copy(update=changed)


def test_a_shift_of_all_scores_is_no_flip():
    found = evidence()
    assert (found.score_shift, found.flips_normal, found.flips_defective) == (1.0, 0, 0)
    assert found.rank_correlation == pytest.approx(1.0)
    assert holds(found)


def test_evidence_beyond_a_limit_fails_the_export():
    for changed in ({"rank_correlation": 0.89}, {"flips_normal": 1, "flips_defective": 1}):
        with pytest.raises(CertificateError, match="task screw: uint8 changes what the engine"):
            require(evidence(**changed), "screw", "uint8")
    assert holds(evidence(flips_defective=1))
    assert not holds(evidence(rank_correlation=float("nan")))


@pytest.fixture(scope="module")
def in_uint8(lite0, products, tmp_path_factory):
    """Bundle of three products in eight bits."""
    bundle = tmp_path_factory.mktemp("eight-bits") / "bundle"
    plan = ExportPlan(precision="uint8", calibration=products / "checks-stripes-waves.json")
    export_folder(lite0, bundle, plan, quiet)
    return bundle


def test_an_eight_bit_bundle_inspects(in_uint8):
    tasks = Bundle(in_uint8).manifest().tasks
    assert {entry.engine.precision for entry in tasks.values()} == {"uint8"}
    for entry in tasks.values():
        assert entry.certificate.tolerance is None
        assert holds(entry.certificate.quantisation)
    entries = {entry.engine.stages[0].graph for entry in tasks.values()}
    assert len(entries) == 1, "all tasks share the quantised entry"
    recipe = tasks[NAMES[0]].engine.recipe
    frame = np.full((recipe.height, recipe.width, 3), 127, np.uint8)
    with Detector.open(in_uint8, device="cpu", watch=False) as detector:
        found = detector.detect(frame, task=NAMES[0])
    assert np.isfinite(found.score)


def test_gaussians_per_position_keep_their_verdicts_in_eight_bits(products, tmp_path):
    stream = stream_of(products, NAMES[:1])
    learn(stream, tmp_path / "artifacts", method="padim", options={"dimensions": "12"})
    plan = ExportPlan(precision="uint8", calibration=products / f"{NAMES[0]}.json")
    export_folder(tmp_path / "artifacts", tmp_path / "bundle", plan, quiet)
    entries = Bundle(tmp_path / "bundle").manifest().tasks
    assert {entry.engine.precision for entry in entries.values()} == {"uint8"}
    assert all(entry.certificate.flips == 0 for entry in entries.values())
    with Detector.open(tmp_path / "bundle", device="cpu", watch=False) as detector:
        good, blot = (
            detector.detect(products / NAMES[0] / "test" / kind / "000.png", task=NAMES[0])
            for kind in ("good", "blot")
        )
    assert blot.score > 2 * good.score


def test_layers_stay_in_float_one_at_a_time_until_the_evidence_holds(
    lite0, products, tmp_path, monkeypatch
):
    """Of each graph the first ones, and no more of them than the evidence asks for."""
    monkeypatch.setattr(quantiser, "holds", lambda found: len(found.kept_in_float) >= 2)
    bundle = tmp_path / "bundle"
    plan = ExportPlan(precision="uint8", calibration=products / "checks-stripes-waves.json")
    export_folder(lite0, bundle, plan, quiet)
    entries = Bundle(bundle).manifest().tasks.values()
    kept = [entry.certificate.quantisation.kept_in_float for entry in entries]
    assert kept == [["0/conv2d", "0/conv2d_1"]] * len(NAMES), "the entry loses more than the head"


def test_eight_bits_do_not_mix_with_float(in_uint8, lite0, tiny_copy_of):
    bundle = tiny_copy_of(in_uint8)
    older = json.loads((bundle / "bundle.json").read_text())
    plan = ExportPlan(selector="key_set")
    with pytest.raises(BundleError, match="engines are uint8, and eight bits do not mix"):
        export_folder(lite0, bundle, plan, quiet)
    assert json.loads((bundle / "bundle.json").read_text()) == older


@pytest.fixture
def tiny_copy_of(tmp_path):
    """Copy of a bundle that may be changed."""
    return lambda bundle: shutil.copytree(bundle, tmp_path / "copy")


def test_images_of_another_product_are_refused(lite0, products, tmp_path):
    stream = json.loads((products / "checks-stripes-waves.json").read_text())
    paths = [str(products / task["path"]) for task in stream["tasks"]]
    for task, path in zip(stream["tasks"], [*paths[1:], paths[0]], strict=True):
        task["path"] = path
    swapped = tmp_path / "swapped.json"
    swapped.write_text(json.dumps(stream))
    bundle = tmp_path / "bundle"
    with pytest.raises(DatasetError, match="do not show the product that was learned as"):
        export_folder(lite0, bundle, ExportPlan(precision="int8", calibration=swapped), quiet)
    assert not (bundle / "bundle.json").exists()


def test_options_that_do_not_fit_together_are_refused(products):
    with pytest.raises(OptionError, match="give the stream file"):
        ExportPlan(precision="uint8")
    with pytest.raises(OptionError, match="--calibration does nothing with --precision fp16"):
        ExportPlan(precision="fp16", calibration=products / "checks-stripes-waves.json")
