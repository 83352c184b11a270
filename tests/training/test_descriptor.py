"""The sketch of wide descriptors: linear, fixed for ever, small, and good enough to route by."""

import numpy as np
import pytest
import torch

from cad_edge.routing import fit_discriminant, summarise
from cad_edge_training.backbones.descriptor import GROUPS, WIDEST, compact, groups_of

WIDE = 2304  # mean and deviation of the 1,152 channels of SigLIP so400m
ORDER, SIGNS = [558, 1048, 1486, 992, 1144, 1223], [1, 1, 1, 1, 1, -1]


@pytest.fixture
def rows(rng) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=(5, WIDE)).astype(np.float32))


def sketch_matrix(width: int) -> np.ndarray:
    """The sketch as a matrix, from its definition and not by the code that sums."""
    order, signs = groups_of(width)
    matrix = np.zeros((width, GROUPS))
    for place, (number, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[number, place % GROUPS] = sign
    return matrix


@pytest.mark.parametrize("width", [128, 768, WIDEST])
def test_networks_up_to_768_wide_are_left_as_they_are(rng, width):
    rows = torch.from_numpy(rng.normal(size=(2, width)))
    assert compact(rows) is rows


@pytest.mark.parametrize("width", [WIDE, WIDEST + 1])
def test_every_number_counts_once_with_a_sign(rng, width):
    matrix = sketch_matrix(width)
    assert (np.abs(matrix).sum(1) == 1).all()
    sizes = np.abs(matrix).sum(0)
    assert sizes.max() - sizes.min() <= 1
    assert abs(matrix.sum()) < 4 * width**0.5  # as many 1 as -1, as far as chance has it
    rows = rng.normal(size=(3, width)).astype(np.float32)
    expected = rows.astype(np.float64) @ matrix
    np.testing.assert_allclose(compact(torch.from_numpy(rows)), expected, atol=1e-4)


def test_groups_are_those_of_every_machine():
    order, signs = groups_of(WIDE)
    assert order[:6].tolist() == ORDER and signs[:6].tolist() == SIGNS
    torch.manual_seed(9)
    again, other = groups_of(WIDE)
    assert (again == order).all() and (other == signs).all()


def test_mean_and_scatter_of_sketches_are_sketches_of_mean_and_scatter(rng):
    rows = rng.normal(size=(40, WIDE)).astype(np.float32)
    matrix, none = sketch_matrix(WIDE), np.zeros((1, 2), np.float32)
    whole = summarise(rows.astype(np.float64), none, none[0])
    small = summarise(compact(torch.from_numpy(rows).double()).numpy(), none, none[0])
    np.testing.assert_allclose(small.mean, whole.mean @ matrix, atol=1e-9)
    np.testing.assert_allclose(small.scatter, matrix.T @ whole.scatter @ matrix, atol=1e-8)


def test_a_batch_is_its_rows(rows):
    np.testing.assert_array_equal(compact(rows)[3:4], compact(rows[3:4]))


def test_tasks_that_differ_a_little_in_every_channel_are_told_apart(rng):
    """Two products, ten images each, half a deviation apart in channels of unlike scale."""
    scale = np.exp(rng.normal(0, 1, WIDE))
    means = {name: rng.normal(0, 0.5, WIDE) for name in ("nut", "lid")}

    def images(name: str, count: int) -> np.ndarray:
        drawn = (means[name] + rng.normal(size=(count, WIDE))) * scale
        return compact(torch.from_numpy(drawn)).numpy()

    keys = np.zeros((1, 2), np.float32)
    found = fit_discriminant({name: summarise(images(name, 10), keys, keys[0]) for name in means})
    for number, name in enumerate(found.tasks):
        assert (found.distances(images(name, 50)).argmin(1) == number).mean() >= 0.95


def test_what_a_task_stores_stays_under_a_megabyte_for_any_width(rng):
    rows = compact(torch.from_numpy(rng.normal(size=(64, 4096)))).numpy()
    tensors = summarise(rows, np.zeros((1, 2), np.float32), np.zeros(1, np.float32)).to_tensors()
    assert rows.shape == (64, GROUPS)
    assert sum(one.nbytes for one in tensors.values()) < 350_000
