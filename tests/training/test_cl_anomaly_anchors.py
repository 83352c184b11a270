import numpy as np
import pytest
import torch

from cad_edge_training.methods.cl_anomaly.anchors import AnchorSum, gate_weights, similarities


@pytest.fixture
def tokens(rng):
    return torch.from_numpy(rng.normal(3, 1, (40, 9, 16)).astype(np.float32))


def summed(parts):
    found = AnchorSum.empty(16)
    for part in parts:
        found = found.add(part)
    return found


def test_an_anchor_is_the_mean_of_the_means(tokens):
    found = summed(tokens.split(8))
    assert found.count == 40 and found.total.dtype == torch.float64
    torch.testing.assert_close(found.mean(), tokens.mean(dim=(0, 1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_it_depends_on_neither_order_nor_division(tokens, size):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    one, other = summed(tokens.split(8)), summed(tokens[order].split(size))
    torch.testing.assert_close(one.total, other.total, rtol=1e-13, atol=0)
    halves = summed([tokens[:13]]).merge(summed([tokens[13:]]))
    torch.testing.assert_close(one.total, halves.total, rtol=1e-13, atol=0)
    assert one.count == other.count == halves.count


def test_it_does_not_stall_as_a_counter_in_bfloat16_does():
    found = AnchorSum(torch.full((2,), 5000.0, dtype=torch.float64), 5000)
    found = found.add(torch.full((1000, 3, 2), 7.0))
    assert found.mean().tolist() == pytest.approx([2.0, 2.0])


def test_the_papers_temperature():
    cosines = torch.tensor([[0.95, *[0.80] * 7]])
    soft = gate_weights(cosines, "soft", 0.1, 0)[0]
    assert soft[0].item() == pytest.approx(0.39, abs=0.005)
    assert soft[1].item() == pytest.approx(0.087, abs=0.0005)
    flat = gate_weights(cosines, "soft", 1.0, 0)[0]
    assert flat[0].item() == pytest.approx(0.142, abs=0.0005)


def test_hard_takes_the_nearest_and_selector_the_chosen():
    cosines = torch.tensor([[0.2, 0.9, 0.1], [0.5, 0.4, 0.3]])
    assert gate_weights(cosines, "hard", 0.1, 2).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert gate_weights(cosines, "selector", 0.1, 2).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_only_learned_tasks_share_the_weight_and_lengths_do_not_matter(tokens):
    anchors = torch.stack([tokens[0].mean(dim=0) * 100, -tokens[1].mean(dim=0)])
    cosines = similarities(tokens[:1], anchors)
    assert cosines.shape == (1, 2)
    assert cosines[0, 0].item() == pytest.approx(1.0, abs=1e-6)
    assert gate_weights(cosines, "soft", 0.1, 0).sum().item() == pytest.approx(1.0)
