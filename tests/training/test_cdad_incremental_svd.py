"""Incremental SVD: the oracle of METHODS 9 (003), low ranks, and what unit directions lose."""

import math

import numpy as np
import pytest
import torch

from cad_edge.errors import CadEdgeError
from cad_edge_training.methods.cdad.bases import (
    LayerBases,
    grown,
)
from cad_edge_training.methods.cdad.incremental_svd import (
    IncrementalSVDs,
    left_singular,
)
from tests.training.cdad_columns import BATCH, FIRST, SECOND, by_blocks, drawn, moment_of, projector


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_unit_directions_lose_the_block_before():
    for basis in (grown(None, moment_of(BATCH), 0.95), by_blocks(0.95, [FIRST, SECOND])):
        assert basis.shape == (4, 3)
        torch.testing.assert_close(
            projector(basis), torch.diag(torch.tensor([1.0, 1, 1, 0])).double()
        )
    printed = by_blocks(0.95, [FIRST, SECOND], paper=True)
    torch.testing.assert_close(printed.abs(), torch.tensor([[0.0], [0], [1], [0]]))


def test_left_singular_vectors_of_many_and_of_few_columns(generator):
    for count in (3, 40):
        columns = drawn(7, count, generator=generator)
        vectors, values = left_singular(columns)
        expected, numbers, _ = np.linalg.svd(columns.numpy(), full_matrices=False)
        np.testing.assert_allclose(values, numbers, rtol=1e-12)
        np.testing.assert_allclose(np.abs((vectors.numpy() * expected).sum(0)), 1, rtol=1e-12)


@pytest.mark.parametrize("width", [1, 7])
def test_blocks_of_low_rank_have_the_span_of_the_batch(width, generator):
    whole = drawn(20, 4, generator=generator) @ drawn(4, 56, generator=generator)
    whole[:, 28:] *= 100
    expected = torch.linalg.svd(whole).U[:, :4]
    found = by_blocks(1.0, whole.split(width, dim=1))
    assert found.shape == (20, 4)
    torch.testing.assert_close(projector(found), projector(expected), rtol=0, atol=1e-6)
    assert grown(None, moment_of(whole), 1.0).shape == (20, 4)


def test_what_blocks_cut_off_counts_as_lost():
    e1, e2, e3 = torch.eye(3, dtype=torch.float64).split(1, dim=1)
    # 4 of 5 are kept of the first block. Of all 6 that is .67, so the second must add: 5 / 6. A
    # rule that looks at 4 + 1 alone would have kept the first direction and .67.
    found = by_blocks(0.8, [torch.cat((2 * e1, e2), dim=1), e3])
    torch.testing.assert_close(projector(found), projector(torch.cat((e1, e3), dim=1)))


def test_unit_directions_may_lose_the_product_before():
    old = torch.eye(4)[:, :2]
    found = by_blocks(0.95, [SECOND], old, paper=True)
    torch.testing.assert_close(found.abs(), torch.tensor([[0.0], [0], [1], [0]]))
    found = by_blocks(0.95, [SECOND / 12], old, paper=True)  # of the same length, all three stay
    torch.testing.assert_close(projector(found), torch.diag(torch.tensor([1.0, 1, 1, 0])).double())


def test_blocks_of_several_layers(generator):
    before = LayerBases({"old": torch.eye(3)[:, :1], "seen": torch.eye(4)[:, :1]})
    found = IncrementalSVDs({"seen": 0.95, "old": 0.95, "new": 0.95}, before, paper=False)
    found.add("seen", FIRST)
    found.add("new", FIRST)
    found.end_block()
    found.add("new", SECOND)
    bases = found.bases().by_name
    assert torch.equal(bases["old"], before.by_name["old"])
    assert bases["seen"].shape == (4, 2)
    assert torch.equal(bases["new"], by_blocks(0.95, [FIRST, SECOND]))
    found.add("new", torch.full((4, 1), math.inf))
    with pytest.raises(CadEdgeError, match="inputs of layer new are not finite"):
        found.end_block()


def test_the_order_of_images_changes_nothing(generator):
    images = [
        10.0 ** (place % 4) * drawn(12, 2, generator=generator) @ drawn(2, 20, generator=generator)
        for place in range(12)
    ]
    found = grown(None, moment_of(*images), 0.95)
    turned_round = moment_of(*images[::-1])
    torch.testing.assert_close(moment_of(*images), turned_round, rtol=1e-13, atol=1e-9)
    other = grown(None, turned_round, 0.95)
    assert 1 < found.shape[1] < 12
    torch.testing.assert_close(projector(found), projector(other), rtol=0, atol=1e-6)
    # Incremental SVD that carries unit directions remembers the end best.
    ends = [by_blocks(0.95, one, paper=True) for one in (images, images[::-1])]
    assert not torch.allclose(projector(ends[0]), projector(ends[1]), atol=1e-2)
