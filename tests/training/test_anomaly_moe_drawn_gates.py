"""Gates of AnomalyMoE: hand-worked shares, ties, and the same choice in ONNX."""

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from cad_edge_export.fused_task import GraphInput, StageModule
from cad_edge_export.graph_files import GRAPH, open_graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.gates import chosen, gates, level_gates


def _config(**values: object) -> Config:
    return Config.model_validate({"groups": ("2",), **values})


def test_top_three_of_eighteen() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, *[-1.0] * 15]])
    found = gates(logits, _config())
    assert found[0, :3].tolist() == pytest.approx([0.6652, 0.2447, 0.0900], abs=5e-5)
    assert torch.equal(found[0, 3:], torch.zeros(15))


@pytest.mark.parametrize("size", [2, 6])
def test_of_equal_logits_the_lowest_index_is_chosen(size: int) -> None:
    logits = torch.zeros(4, 3 * size)
    logits[1, -1] = 1.0
    config = _config(experts=size, top_k=3)
    assert chosen(logits, config).tolist() == [
        [0, 1, 2],
        [3 * size - 1, 0, 1],
        [0, 1, 2],
        [0, 1, 2],
    ]
    assert gates(logits, config)[0].nonzero().flatten().tolist() == [0, 1, 2]
    per_level = _config(experts=size, routing="per_level")
    assert chosen(logits, per_level)[0].tolist() == [0, size, 2 * size]


def test_best_of_each_level() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0, -5.0, -4.0]])
    config = _config(experts=2, routing="per_level")
    assert chosen(logits, config).tolist() == [[1, 2, 5]]
    share = np.exp([3.0, 2.0, -4.0])
    share /= share.sum()
    found = gates(logits, config)
    assert found[0].tolist() == pytest.approx([0, share[0], share[1], 0, 0, share[2]])
    assert level_gates(found)[0].tolist() == pytest.approx(share.tolist())


def test_a_level_can_be_left_out_of_the_published_routing() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 5.0, 5.0, 5.0, 0.0, 0.0, 0.0]])
    assert level_gates(gates(logits, _config(experts=3)))[0].tolist() == pytest.approx([0, 1, 0])


def test_an_expert_at_minus_infinity_is_never_chosen() -> None:
    logits = torch.tensor([[float("-inf"), -9.0, 0.0, float("-inf"), 1.0, 1.0]])
    for routing in ("top_k", "per_level"):
        found = gates(logits, _config(experts=2, routing=routing))
        assert found[0, 0] == found[0, 3] == 0
        assert found.sum().item() == pytest.approx(1.0)


def test_the_gradient_is_that_of_a_softmax_over_the_chosen() -> None:
    logits = torch.tensor([[0.0, 0.0, -9.0]], requires_grad=True)
    found = gates(logits, _config(experts=1, top_k=2))
    (found * torch.tensor([[1.0, 3.0, 7.0]])).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    # G (L - sum of G L) with G = (.5, .5) and L = (1, 3): the cheap expert rises.
    assert logits.grad[0].tolist() == pytest.approx([-0.5, 0.5, 0.0])


class _Graph(torch.nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return gates(logits, self.config), chosen(logits, self.config)


@pytest.mark.parametrize("routing", ["top_k", "per_level"])
def test_onnx_chooses_the_same_ties_included(routing: str) -> None:
    graph = _Graph(_config(routing=routing)).eval()
    generator = torch.Generator().manual_seed(0)
    # Few distinct values, so that nearly every row has ties.
    logits = torch.randint(0, 3, (64, 18), generator=generator).float()
    wanted = GraphInput("logits", "frame/logits", logits[:2], dynamic=(0,))
    graph_bytes = to_onnx(StageModule(graph, (wanted,), ("weights", "indices")))[GRAPH]
    kinds = {node.op_type for node in onnx.load_from_string(graph_bytes).graph.node}
    assert not kinds & {"If", "Loop", "NonZero"}
    session = open_graph({GRAPH: graph_bytes})
    weights, indices = session.run(None, {"logits": logits.numpy()})
    assert np.array_equal(indices, chosen(logits, graph.config).numpy())
    assert np.array_equal(weights != 0, gates(logits, graph.config).numpy() != 0)
    np.testing.assert_allclose(weights, gates(logits, graph.config).numpy(), atol=1e-6)
    if routing == "top_k":
        stable = np.argsort(-logits.numpy(), axis=1, kind="stable")[:, :3]
        assert np.array_equal(indices, stable)
