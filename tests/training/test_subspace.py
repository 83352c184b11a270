"""The Gaussian of channel statistics, against the covariance that it stands for."""

import numpy as np
import pytest
import torch

from cad_edge_training.methods.patch_memory.subspace import (
    Subspace,
    fit_subspace,
    left_out_lengths,
)


@pytest.fixture
def features(rng) -> torch.Tensor:
    """(600, 12) float32 in eight clusters."""
    centres = rng.normal(0, 5, (8, 12))
    return torch.from_numpy(np.repeat(centres, 75, axis=0) + rng.normal(size=(600, 12))).float()


@pytest.mark.parametrize("rank", [1, 5, 12, 50])
def test_subspace_length_is_mahalanobis_with_the_small_variances_as_one(features, rank):
    """Brute force: build the covariance that the subspace stands for and invert it."""
    subspace = fit_subspace(features, rank, 0.05)
    values = features.double().numpy()
    scaled = (values - values.mean(axis=0)) * subspace.scale.double().numpy()
    eigenvalues, vectors = np.linalg.eigh(np.cov(scaled.T))
    floor = 0.05 * eigenvalues.mean()
    kept = min(rank, 12)
    variances = np.empty(12)
    variances[12 - kept :] = eigenvalues[12 - kept :] + floor
    if kept < 12:
        variances[: 12 - kept] = eigenvalues[: 12 - kept].mean() + floor
    precision = vectors @ np.diag(1 / variances) @ vectors.T
    expected = np.sqrt(np.einsum("nd,de,ne->n", scaled, precision, scaled))
    got = subspace.length(features).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_subspace_brings_every_number_to_unit_deviation_first(features):
    stretched = features * torch.logspace(-3, 3, 12)
    subspace = fit_subspace(features, 4, 0.05)
    other = fit_subspace(stretched, 4, 0.05)
    torch.testing.assert_close(
        other.length(stretched), subspace.length(features), atol=0, rtol=1e-3
    )


def test_subspace_survives_its_tensors(features):
    subspace = fit_subspace(features, 4, 0.05)
    again = Subspace.of(subspace.tensors())
    assert torch.equal(again.length(features), subspace.length(features))


def test_with_fewer_images_than_numbers_the_missing_directions_change_nothing(rng):
    values = torch.from_numpy(rng.normal(size=(6, 40))).float()
    subspace = fit_subspace(values, 10, 0.05)
    assert subspace.directions.shape == (40, 10) and subspace.precision.shape == (10,)
    assert (subspace.directions[:, 6:] == 0).all()
    scaled = ((values - subspace.mean) * subspace.scale).double()
    eigenvalues = torch.linalg.eigvalsh(scaled @ scaled.T / 5).flip(0)
    floor = 0.05 * eigenvalues.sum() / 40
    along = (scaled @ subspace.directions.double()) ** 2
    precision = torch.zeros(10, dtype=torch.float64)
    precision[:6] = 1 / (eigenvalues + floor)
    # All six images lie in the five directions that they span, so that nothing is outside.
    expected = (along @ precision).sqrt()
    torch.testing.assert_close(subspace.length(values).double(), expected, rtol=1e-3, atol=1e-3)


def test_left_out_lengths_are_those_of_fits_without_each_part(rng):
    values = torch.from_numpy(rng.normal(size=(9, 5))).float()
    parts = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3, 3])
    got = left_out_lengths(values, parts, 3, 0.05)
    for part in range(4):
        held = parts == part
        expected = fit_subspace(values[~held], 3, 0.05).length(values[held])
        assert torch.equal(got[held], expected)


def test_images_left_out_lie_farther_than_those_that_were_fitted(rng):
    values = torch.from_numpy(rng.normal(size=(30, 60))).float()
    fitted = fit_subspace(values, 64, 0.05).length(values)
    assert (left_out_lengths(values, torch.arange(30), 64, 0.05) > fitted).all()
