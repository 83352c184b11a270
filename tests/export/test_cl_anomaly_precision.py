"""CL-Anomaly in half precision, and a tower that is folded within a larger model."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from cad_edge_export.activations import has_written_out
from cad_edge_export.certificate import TOLERANCE, run_chain
from cad_edge_export.fusions import load_fusion
from cad_edge_export.graph_files import GRAPH
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_export.trunk import folded, in_precision
from cad_edge_training.methods.cl_anomaly.config import Config
from tests.export.expert_samples import (
    difference,
    every_image,
    frames,
    reference,
    run_modules,
    sharing_tasks,
)

NATURAL = 12


@pytest.mark.parametrize("layout", ["shared", "fused"])
@pytest.mark.parametrize("routing", ["soft", "selector"])
def test_halves_answer_within_their_tolerance(either_base, layout, routing):
    task = sharing_tasks(either_base, Config(routing=routing), 2)[1]
    fused = load_fusion("cl_anomaly", layout)(task, either_base, "fp16")
    kinds = {name: value.dtype for name, value in fused.bound().items()}
    assert kinds.pop("anchors", np.dtype("float32")) == np.float32
    assert set(kinds.values()) <= {np.dtype("float16")} and bool(kinds) == (layout == "shared")
    images = every_image(either_base)
    out = run_modules(fused, images)
    assert {value.dtype for value in out.values()} == {np.dtype("float32")}
    assert (
        difference(out["score"], reference(either_base, task, images), NATURAL) <= TOLERANCE["fp16"]
    )
    # The base model itself stays as it was.
    assert {weight.dtype for weight in either_base.parameters()} == {torch.float32}


def test_graph_computes_in_halves_between_float32_ports(siglip_base):
    task = sharing_tasks(siglip_base, Config(routing="soft"), 2)[1]
    fused = load_fusion("cl_anomaly", "fused")(task, siglip_base, "fp16")
    graph = to_onnx(fused.stages[0])
    model = onnx.load_from_string(graph[GRAPH])
    kinds = {item.name: item.data_type for item in model.graph.initializer}
    weights = [
        kinds[node.input[1]]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in kinds
    ]
    # The product with the anchors alone is in float32.
    assert weights.count(TensorProto.FLOAT16) >= len(weights) - 1 > 20
    ports = {port.type.tensor_type.elem_type for port in model.graph.output}
    assert ports == {TensorProto.FLOAT}
    images = every_image(siglip_base)
    got = run_chain(fused, [graph], images)
    assert difference(got, reference(siglip_base, task, images), NATURAL) <= TOLERANCE["fp16"]


def test_tower_within_a_model_is_folded_and_the_model_is_not(siglip_base, lite0_base):
    base, copied = lite0_base, folded(lite0_base)
    for network, there in ((base, True), (copied, False)):
        found = any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
        assert found == there
    weight = base.language.get_parameter("layers.0.mlp.up_proj.weight")
    assert copied.language.get_parameter("layers.0.mlp.up_proj.weight") is weight
    pixels = base.normalise(torch.from_numpy(frames(base, 1)))
    with torch.inference_mode():
        last = max(base.token_blocks)
        one, other = base.run(pixels, last), copied.run(pixels, last)
    for block in base.token_blocks:
        scale = float(one[block].abs().max())
        torch.testing.assert_close(other[block], one[block], atol=1e-5 * scale, rtol=0)


def test_activations_of_a_tower_are_written_out_in_a_copy_that_shares_all_weights(siglip_base):
    copied = folded(siglip_base)
    assert has_written_out(siglip_base) and not has_written_out(copied)
    weights = dict(siglip_base.named_parameters())
    assert all(weight is weights[name] for name, weight in copied.named_parameters())


def test_halved_copy_leaves_the_original_alone(either_base):
    halved = in_precision(either_base, "fp16")
    assert {weight.dtype for weight in halved.parameters()} == {torch.float16}
    assert {weight.dtype for weight in either_base.parameters()} == {torch.float32}
    assert in_precision(either_base, "fp32") is either_base
