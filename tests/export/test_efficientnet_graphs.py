"""EfficientNet as graphs: norms and prompts folded, torch's numbers, the rules of every graph."""

import itertools

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge.store.artifact import read_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.graph_files import GRAPH
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_export.plan import ExportPlan
from cad_edge_export.resizing import Taps
from cad_edge_export.trunk import entry_stage, folded, folds_prompt
from cad_edge_runtime import Detector
from cad_edge_training.backbones import load_backbone
from tests.export import test_graph_rules as rules
from tests.training.small_products import learn, quiet, spoil, stream_of, texture
from tests.training.tiny_models import blotches, save_efficientnet

SIDE = 64
# A flat sigmoid: a steep one on untrained features is no business of the trunk.
PROMPTED = {
    **{"blocks": "6", "bank_size": "16", "keys": "8", "text": "false", "slope": "0.01"},
    **{"prompts": "true", "prompt_from_block": "5", "epochs": "1", "learning_rate": "0.05"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_efficientnet(tmp_path_factory.mktemp("models") / "tiny-efficientnet")


@pytest.fixture(scope="module")
def backbone(folder):
    return load_backbone(f"efficientnet:{folder}", SIDE)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(7)
    good = [texture(name, rng)[:SIDE, :SIDE] for name in ("checks", "stripes", "waves")]
    return torch.from_numpy(np.stack([*good, spoil(good[0])]))


@pytest.fixture(scope="module")
def learned(folder, products, tmp_path_factory):
    """A task of CMPMB with prompts in front of blocks 5 and 6."""
    out = tmp_path_factory.mktemp("learned")
    learn(
        stream_of(products, ("stripes",)),
        out,
        PROMPTED,
        f"efficientnet:{folder}",
        SIDE,
        method="cmpmb",
    )
    return out / "stripes"


@pytest.fixture(scope="module", params=["shared", "fused"])
def bundle(request, learned, folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / request.param
    plan = ExportPlan(request.param, backbone=f"efficientnet:{folder}")
    export_artifacts([learned], path, plan, quiet)
    return path


def assert_close_in_range(got, expected, tolerance):
    span = float(expected.max() - expected.min())
    assert span > 0.1
    assert float((got - expected).abs().max()) <= tolerance * span


def test_folded_is_unfolded(backbone):
    pixels = blotches(3, SIDE, torch.Generator().manual_seed(2))
    fast = folded(backbone)
    assert any(isinstance(part, nn.BatchNorm2d) for part in backbone.modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fast.modules())
    with torch.inference_mode():
        slow_states, fast_states = (one.run(pixels, one.n_blocks - 1) for one in (backbone, fast))
    for index, expected in slow_states.items():
        assert_close_in_range(fast_states[index], expected, 1e-4)


def test_a_prompt_becomes_two_biases(backbone):
    pixels = blotches(3, SIDE, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(4)
    prompts = {
        index: torch.randn(backbone.prompt_shape(index, 1), generator=generator)
        for index in range(5, 9)
    }
    assert [folds_prompt(backbone, index) for index in (0, *prompts)] == [False] + [True] * 4
    assert {backbone._blocks[index].residual for index in prompts} == {True, False}
    with torch.inference_mode():
        plain = backbone.run(pixels, 8)[8]
        expected = backbone.run(pixels, 8, prompts)[8]
        got = folded(backbone, prompts).run(pixels, 8)[8]
    assert_close_in_range(got, expected, 1e-4)
    assert float((expected - plain).abs().max()) > 0.1


def test_entry_answers_as_torch_and_keeps_the_rules(backbone, images):
    onnxruntime = load_onnxruntime()
    last = backbone.stage_ends[-1]
    data = to_onnx(entry_stage(backbone, last, "fp32"))[GRAPH]
    model = onnx.load_from_string(data)
    rules.test_standard_operators_of_opset_17_to_20_alone({"entry": (data, model)})
    kinds = {node.op_type for node in model.graph.node}
    assert {"Conv", "Sigmoid", "Mul", "ReduceMean"} <= kinds
    assert not kinds & {"BatchNormalization", "Dropout", "Pad", "If", "Loop"}
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        states = backbone.run(backbone.normalise(images), last)
    for chosen in (images[:1], images):
        _, hidden = session.run(None, {"image": chosen.numpy()})
        assert_close_in_range(torch.from_numpy(hidden), states[last][: len(chosen)], 1e-4)


def test_entry_taps_stage_ends(backbone, images):
    onnxruntime = load_onnxruntime()
    first, second = backbone.stage_ends[:2]
    taps = Taps((first, second), SIDE // 16, "bilinear")
    data = to_onnx(entry_stage(backbone, 4, "fp32", taps))[GRAPH]
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    _, _, early = session.run(None, {"image": images.numpy()})
    with torch.inference_mode():
        states = backbone.run(backbone.normalise(images), second)
        resized = [
            nn.functional.interpolate(states[end], (4, 4), mode="bilinear", align_corners=True)
            for end in (first, second)
        ]
    assert_close_in_range(torch.from_numpy(early), torch.cat(resized, dim=1), 1e-4)


def test_cmpmb_learns_exports_and_detects_with_it(bundle, learned, images):
    certificate = Bundle(bundle).manifest().tasks["stripes"].certificate
    assert certificate.score_max <= 1e-4 and certificate.map_max <= 1e-4
    prompts = {name for name in read_artifact(learned).tensors if name.startswith("prompt/")}
    assert prompts == {"prompt/5", "prompt/6"}
    with Detector.open(bundle, device="cpu", watch=False) as detector:
        for frame in images.numpy():
            found = detector.detect(frame, task="stripes")
            assert np.isfinite(found.score)


def test_its_bundles_keep_the_rules_of_every_graph(bundle, products):
    graphs = {}
    for file in sorted((bundle / "objects").glob("*/graph.onnx")):
        data = file.read_bytes()
        graphs[file.parent.name] = (data, onnx.load_from_string(data))
    rules.test_standard_operators_of_opset_17_to_20_alone(graphs)
    rules.test_no_operator_that_tensorrt_refuses(graphs)
    rules.test_only_the_batch_and_the_number_of_tasks_vary(graphs)
    rules.test_nothing_of_the_workstation_is_inside(graphs, products)
    rules.test_weights_are_inside_the_graph(graphs)
    kinds = {
        node.op_type
        for node in itertools.chain.from_iterable(
            rules.nodes(model.graph) for _, model in graphs.values()
        )
    }
    assert "Sigmoid" in kinds and not kinds & {"BatchNormalization", "Dropout"}
