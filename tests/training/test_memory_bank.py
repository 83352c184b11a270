"""Whitening, k-centre, k-means and nearest distances against brute force."""

import numpy as np
import pytest
import torch

from cad_edge_training import memory_bank as module
from cad_edge_training.memory_bank import (
    PROJECTION_WIDTH,
    START_POINTS,
    fit_whitening,
    k_center,
    k_means,
    nearest_distance,
    root_epsilon,
    squared_distances,
)


@pytest.fixture
def features(rng) -> torch.Tensor:
    """(600, 12) float32 in eight clusters."""
    centres = rng.normal(0, 5, (8, 12))
    return torch.from_numpy(np.repeat(centres, 75, axis=0) + rng.normal(size=(600, 12))).float()


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def radius(features: torch.Tensor, centres: torch.Tensor) -> float:
    """Distance of the worst covered sample."""
    return torch.cdist(features, centres).amin(dim=1).max().item()


def test_squared_distances_are_cdists_and_never_negative(features):
    centres = features[::40]
    got = squared_distances(features, centres)
    expected = torch.cdist(features.double(), centres.double()) ** 2
    torch.testing.assert_close(got.double(), expected, atol=1e-3, rtol=1e-5)
    assert (squared_distances(features + 1e3, features[:5] + 1e3) >= 0).all()


def test_nearest_distance_in_pieces_is_that_of_the_whole(features, monkeypatch):
    shaped, centres = features.reshape(6, 100, 12), features[::50] + 0.5
    whole = nearest_distance(shaped, centres)
    assert whole.shape == (6, 100)
    expected = torch.cdist(features, centres).amin(dim=1).reshape(6, 100)
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=1e-5)
    monkeypatch.setattr(module, "CHUNK", 7)
    torch.testing.assert_close(nearest_distance(shaped, centres), whole, atol=1e-6, rtol=1e-6)


def test_epsilon_is_added_below_the_root(features):
    centres = features[:9]
    epsilon = root_epsilon(centres)
    assert epsilon == pytest.approx(1e-3 * float((centres**2).sum(1).mean()), rel=1e-6)
    plain = nearest_distance(features, centres)
    torch.testing.assert_close(
        nearest_distance(features, centres, epsilon) ** 2, plain**2 + epsilon
    )


def test_epsilon_steadies_the_root_where_a_patch_is_in_memory(rng):
    """The two ways to write a squared distance differ in the last digits; their roots must not."""
    centres = torch.from_numpy(rng.normal(0, 10, (64, 264))).float()
    epsilon = root_epsilon(centres)
    products = (centres @ (-2 * centres.T) + (centres.double() ** 2).sum(1).float()).amin(1)
    fused = ((centres**2).sum(1) + products).clamp_min(0)
    exact = centres.new_full((64,), epsilon).sqrt()
    torch.testing.assert_close((fused + epsilon).sqrt(), exact, atol=0, rtol=1e-3)
    torch.testing.assert_close(
        nearest_distance(centres, centres, epsilon), exact, atol=0, rtol=1e-3
    )


def test_whitening_without_shrinkage_gives_unit_covariance(rng):
    mixing = rng.normal(size=(12, 12))
    features = torch.from_numpy(rng.normal(size=(4000, 12)) @ mixing + 3).float()
    whitened = fit_whitening(features, 1e-9).apply(features).double()
    covariance = torch.cov(whitened.T)
    torch.testing.assert_close(covariance, torch.eye(12).double(), atol=2e-3, rtol=0)
    torch.testing.assert_close(whitened.mean(0), torch.zeros(12).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("shrinkage", [0.01, 0.5])
def test_whitening_is_the_inverse_root_of_the_shrunk_covariance(features, shrinkage):
    whitening = fit_whitening(features, shrinkage)
    covariance = np.cov(features.double().numpy().T)
    shrunk = covariance + shrinkage * np.trace(covariance) / 12 * np.eye(12)
    matrix = whitening.matrix.double().numpy()
    np.testing.assert_allclose(matrix @ shrunk @ matrix, np.eye(12), atol=1e-5)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-7)


def test_whitening_of_fewer_samples_than_channels_stays_finite(rng):
    features = torch.from_numpy(rng.normal(size=(5, 40))).float()
    whitening = fit_whitening(features, 0.01)
    assert torch.isfinite(whitening.matrix).all()
    # Directions without variance grow by 1 / sqrt(shrinkage * mean eigenvalue), not more.
    mean = float(torch.cov(features.double().T).diagonal().mean())
    largest = torch.linalg.eigvalsh(whitening.matrix.double()).max().item()
    assert largest == pytest.approx((0.01 * mean) ** -0.5, rel=1e-3)


def test_k_center_takes_the_farthest_each_time(features):
    """Step by step against the definition; 12 channels are not projected."""
    chosen = k_center(features, 40, seeded()).tolist()
    start = torch.randperm(len(features), generator=seeded())[:START_POINTS]
    distance = torch.cdist(features.double(), features[start].double()).mean(dim=1)
    for pick in chosen:
        assert distance[pick].item() == pytest.approx(distance.max().item(), rel=1e-4)
        distance = torch.minimum(
            distance, torch.cdist(features.double(), features[[pick]].double())[:, 0]
        )
    assert len(set(chosen)) == 40


def test_k_center_finds_every_cluster(features):
    chosen = k_center(features, 8, seeded())
    assert sorted((chosen // 75).tolist()) == list(range(8))
    drawn = features[torch.randperm(len(features), generator=seeded(1))[:8]]
    assert radius(features, features[chosen]) < radius(features, drawn)


def test_k_center_of_wide_features_works_in_a_projection(rng):
    wide = torch.from_numpy(rng.normal(size=(300, PROJECTION_WIDTH + 50))).float()
    wide[17] *= 20
    chosen = k_center(wide, 10, seeded())
    assert chosen[0] == 17 and len(set(chosen.tolist())) == 10


def test_k_center_of_equal_patches_repeats_no_index():
    chosen = k_center(torch.ones(30, 4), 12, seeded())
    assert len(set(chosen.tolist())) == 12


def compress(features: torch.Tensor, method: str, count: int, seed: int) -> torch.Tensor:
    if method == "k_means":
        return k_means(features, count, seed)
    return features[k_center(features, count, seeded(seed))]


@pytest.mark.parametrize("method", ["k_center", "k_means"])
def test_compression_depends_on_its_seed_alone(features, method):
    first, again = (compress(features, method, 20, 3) for _ in range(2))
    assert first.shape == (20, 12) and first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, compress(features, method, 20, 4))


@pytest.mark.parametrize("method", ["k_center", "k_means"])
def test_fewer_patches_than_asked_for_are_all_kept(features, method):
    kept = compress(features[:6], method, 20, 0)
    assert sorted(map(tuple, kept.tolist())) == sorted(map(tuple, features[:6].tolist()))


def test_k_means_centres_are_means_of_what_is_nearest(features):
    centres = k_means(features, 8, 0)
    labels = torch.cdist(features, centres).argmin(dim=1)
    means = torch.stack([features[labels == label].mean(0) for label in range(8)])
    torch.testing.assert_close(centres, means, atol=1e-2, rtol=0)


def test_k_means_of_repeated_patches_finds_them_all_and_nothing_else(features):
    """Blank images have fewer distinct patches than centres."""
    distinct = features[:4]
    centres = k_means(distinct.repeat(50, 1), 20, 0)
    assert torch.cdist(centres, distinct).amin(dim=1).max() < 1e-2
    assert torch.cdist(distinct, centres).amin(dim=1).max() < 1e-2
