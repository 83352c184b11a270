"""GELU in the order that runtimes fuse: torch's own values, and one operator in ONNX Runtime."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge_export.activations import TanhGelu, has_written_out, write_out
from cad_edge_export.fused_task import GraphInput, StageModule
from cad_edge_export.graph_files import GRAPH
from cad_edge_export.onnx_graph import to_onnx


def two_layers() -> nn.Sequential:
    from transformers.activations import GELUTanh

    torch.manual_seed(2)
    inner = nn.Sequential(nn.Linear(8, 8), GELUTanh())
    return nn.Sequential(nn.Linear(8, 8), GELUTanh(), inner, nn.Linear(8, 8))


def test_values_are_torchs_own():
    x = torch.linspace(-6, 6, 1001)
    expected = nn.functional.gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(TanhGelu()(x).double(), expected, atol=1e-6, rtol=0)
    assert TanhGelu()(torch.tensor(1.0)).item() == pytest.approx(0.841192, abs=1e-6)


def test_every_activation_is_replaced_and_nothing_else():
    network = two_layers()
    x = torch.randn(5, 8)
    expected = network(x)
    assert has_written_out(network)
    write_out(network)
    assert not has_written_out(network)
    assert sum(isinstance(part, TanhGelu) for part in network.modules()) == 2
    torch.testing.assert_close(network(x), expected, atol=1e-6, rtol=1e-6)


def test_onnxruntime_makes_one_operator_of_each(tmp_path):
    network = two_layers()
    write_out(network)
    rows = GraphInput("rows", "0/rows", torch.zeros(2, 8), (0,))
    graph = to_onnx(StageModule(network, (rows,), ("out",)))[GRAPH]
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    (got,) = session.run(["out"], {"rows": x})
    np.testing.assert_allclose(got, network(torch.from_numpy(x)).detach(), atol=1e-5)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert sum(kind in ("FastGelu", "BiasGelu") for kind in kinds) == 2 and "Tanh" not in kinds
