"""CDAD's bases: oracles of METHODS 9 (003), hand-worked ranks, and growth over products."""

import math

import numpy as np
import pytest
import torch

from cad_edge.errors import ArtifactError, CadEdgeError, OptionError
from cad_edge_training.methods.cdad.bases import (
    BASES,
    LayerBases,
    extended,
    grown,
    leading_rank,
)
from cad_edge_training.methods.cdad.second_moments import (
    directions,
    retained_energy,
)
from tests.training.cdad_columns import BATCH, by_blocks, drawn, moment_of


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def skew(basis: torch.Tensor) -> float:
    return float((basis.T @ basis - torch.eye(basis.shape[1])).abs().max())


@pytest.mark.parametrize(
    ("energies", "gamma", "rank", "printed"),
    [
        ((0.9, 0.1), 0.9, 1, 0),
        ((5.0,), 0.999, 1, 0),
        ((5.0,), 1.0, 1, 0),
        ((144.0, 16.0, 9.0), 0.95, 3, 2),
        ((144.0, 1.0, 1.0), 0.95, 1, 0),
        ((2.0, 1.0, 1.0, 0.0), 1.0, 3, 2),
        ((0.0, 0.0), 0.9, 1, 0),
    ],
)
def test_the_rank_is_the_count_of_algorithm_1_and_one_more(energies, gamma, rank, printed):
    found = torch.tensor(energies, dtype=torch.float64)
    assert leading_rank(found, gamma) == rank
    below = torch.cumsum(found, dim=0) < gamma * found.sum()
    assert int(below.sum()) == printed  # what Algorithm 1 of the paper returns


@pytest.mark.parametrize("gamma", [0.0, -0.5, 1.001, math.nan])
def test_a_gamma_that_is_no_share_is_refused(gamma):
    with pytest.raises(OptionError, match="above 0 and at most 1"):
        leading_rank(torch.ones(2), gamma)


def test_eigenvectors_of_second_moments_are_left_singular_vectors(generator):
    turned = torch.linalg.qr(drawn(4, 4, generator=generator)).Q
    for columns in (BATCH, turned @ BATCH):
        vectors, energies = directions(moment_of(columns))
        expected, values, _ = np.linalg.svd(columns.numpy())
        assert energies.tolist() == pytest.approx([144, 16, 9, 0], abs=1e-12)
        assert values.tolist() == pytest.approx([12, 4, 3])
        cosines = (vectors.numpy() * expected).sum(axis=0)
        aligned = vectors.numpy() * np.sign(cosines)
        np.testing.assert_allclose(aligned, expected, rtol=0, atol=3e-15)


@pytest.mark.parametrize(("gamma", "rank"), [(0.8, 1), (0.85, 2), (0.9, 2), (0.95, 3)])
@pytest.mark.parametrize("by", ["moments", "blocks"])
def test_growth_by_hand(gamma, rank, by):
    # e1 holds 16 of the 20, and is known; 2 and 1 are along e2 and e3, 1 along e4.
    columns = torch.diag(torch.tensor([16.0, 2, 1, 1]).double().sqrt())
    known = torch.eye(4)[:, :1]
    if by == "moments":
        found = grown(known, moment_of(columns), gamma)
    else:
        found = by_blocks(gamma, columns.split(2, dim=1), known)
    assert found.shape == (4, rank)
    assert torch.equal(found[:, :1], known)


@pytest.mark.parametrize("gamma", [0.7, 0.95, 0.999])
@pytest.mark.parametrize("by", ["moments", "blocks"])
def test_every_product_keeps_its_own_energy_whatever_the_scales(gamma, by, generator):
    basis, moments = None, []
    for scale in (1.0, 1e-3, 1e3, 1.0, 1e-2):
        falling = torch.logspace(0, -3, 24, dtype=torch.float64)[:, None]
        turned = torch.linalg.qr(drawn(24, 24, generator=generator)).Q
        task = scale * turned @ (falling * drawn(24, 60, generator=generator))
        if basis is not None:  # most of it lies where older products are
            task = task + 20 * scale * basis.double() @ drawn(
                basis.shape[1], 60, generator=generator
            )
        moments.append(moment_of(task))
        before = basis
        if by == "moments":
            basis = grown(before, moments[-1], gamma)
        else:
            basis = by_blocks(gamma, task.split(15, dim=1), before)
        assert basis.dtype == torch.float32
        assert skew(basis) < 1e-6
        if before is not None:
            assert torch.equal(basis[:, : before.shape[1]], before)
        for moment in moments:
            assert retained_energy(basis, moment) >= gamma - 1e-6


def test_small_news_beside_large_old_inputs_stay_orthonormal(generator):
    # News are 7e-11 of the energy: float32 directions alone would leave 1e-7 of the old in it.
    old = torch.linalg.qr(drawn(30, 10, generator=generator)).Q.float()
    task = 3e5 * old.double() @ drawn(10, 50, generator=generator)
    task = task + drawn(30, 2, generator=generator) @ drawn(2, 50, generator=generator)
    for basis in (grown(old, moment_of(task), 1.0), by_blocks(1.0, [task], old)):
        assert basis.shape == (30, 12)
        assert skew(basis) < 1e-6


def test_what_new_directions_share_with_old_ones_is_taken_off():
    added = torch.tensor([[0.6, 0, 0.8, 0], [0, 0, 0.6, 0.8]], dtype=torch.float64).T
    found = extended(torch.eye(4)[:, :2], added)
    assert skew(found) < 1e-6
    torch.testing.assert_close(found[:, 2:].abs(), torch.eye(4)[:, 2:])


def test_inputs_that_are_all_zero_take_one_direction_and_later_none():
    nothing = torch.zeros(4, 2)
    for basis in (grown(None, moment_of(nothing), 0.9), by_blocks(0.9, [nothing])):
        assert basis.shape == (4, 1)
        assert torch.equal(grown(basis, moment_of(nothing), 0.9), basis)
        assert torch.equal(by_blocks(0.9, [nothing], basis), basis)
    assert retained_energy(basis, moment_of(nothing)) == 1


def test_bases_of_several_layers_grow_each_with_its_gamma():
    moment = torch.diag(torch.tensor([16.0, 2, 1, 1])).double()
    first = LayerBases({}).grown({"a": moment, "b": moment}, {"a": 0.8, "b": 1.0})
    assert {name: basis.shape[1] for name, basis in first.by_name.items()} == {"a": 1, "b": 4}
    assert first.share().by_layer == {"a": 0.25, "b": 1.0}
    assert first.share().overall == 5 / 8
    second = first.grown({"a": moment}, {"a": 0.9})
    assert second.by_name["a"].shape == (4, 2)
    assert second.by_name["b"] is first.by_name["b"]
    with pytest.raises(CadEdgeError, match="inputs of layer b are not finite"):
        first.grown({"b": moment * math.nan}, {"b": 0.9})


def test_bases_are_stored_and_read_again():
    bases = LayerBases({"in.conv": torch.eye(3)[:, :2], "out": torch.eye(5)[:, 1:2]})
    tensors = bases.to_tensors()
    assert {name: value.shape for name, value in tensors.items()} == {
        "basis/in.conv": (3, 2),
        "basis/out": (5, 1),
    }
    again = LayerBases.from_tensors(tensors | {"network/out": np.ones(3, np.float32)})
    assert set(again.by_name) == {"in.conv", "out"}
    assert all(torch.equal(again.by_name[name], bases.by_name[name]) for name in bases.by_name)
    assert LayerBases.from_tensors({}).share().overall == 1


@pytest.mark.parametrize(
    "value",
    [np.ones((3, 2)), np.full((3, 1), math.nan), np.eye(2, 3), np.ones(3), np.zeros((3, 0))],
    ids=str,
)
def test_a_damaged_basis_is_named(value):
    with pytest.raises(ArtifactError, match=r"basis in\.conv of shape .* is not orthonormal"):
        LayerBases.from_tensors({BASES + "in.conv": value.astype(np.float32)})


def test_bases_of_another_network_are_named():
    bases = LayerBases({"a": torch.eye(4)[:, :1]})
    bases.check({"a": 4, "without": 7})
    with pytest.raises(
        ArtifactError, match=r"layer a takes in 6 where its .* 4 .*version or width"
    ):
        bases.check({"a": 6})
    with pytest.raises(ArtifactError, match=r"layer a does not exist where its basis is of 4 num"):
        bases.check({"b": 4})


def test_a_full_network_is_refused():
    LayerBases({"a": torch.eye(4), "b": torch.eye(3)[:, :2]}).check_room()
    with pytest.raises(CadEdgeError, match=r"is full: .* \(left: a 0\.0%, b 0\.0%\); lower energy"):
        LayerBases({"a": torch.eye(4), "b": torch.eye(3)}).check_room()
    nearly = LayerBases({"a": torch.eye(4), "b": torch.eye(2000)[:, :-1]})
    with pytest.raises(CadEdgeError, match="is full"):
        nearly.check_room()
    many = LayerBases({f"layer{place}": torch.eye(2) for place in range(20)})
    with pytest.raises(CadEdgeError, match=r"layer4 0\.0% and 15 more\)"):
        many.check_room()
