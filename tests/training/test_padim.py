"""PaDiM: the distance by hand, exact sums, and held-out images that have no say."""

import numpy as np
import pytest
import torch

from cad_edge_training.methods.padim.config import Config
from cad_edge_training.methods.padim.model import Moments, distance


def as_map(patches: torch.Tensor) -> torch.Tensor:
    """Patches (n, positions, d) as features (n, d, positions, 1)."""
    return patches.transpose(1, 2)[..., None]


def drawn(rng, n: int) -> torch.Tensor:
    return as_map(torch.from_numpy(rng.normal(3, 1, (n, 6, 5)).astype(np.float32)))


def test_distance_of_a_worked_example():
    """Variances 4 and 1: |(2, 1)| is sqrt(4/4 + 1/1)."""
    learned = {
        "mean": torch.tensor([[1.0, 1.0]]),
        "whitening": torch.tensor([[[0.5, 0.0], [0.0, 1.0]]]),
    }
    found = distance(as_map(torch.tensor([[[3.0, 2.0]], [[1.0, 1.0]]])), learned)
    assert torch.allclose(found.flatten(), torch.tensor([2**0.5, 0.0]))


def test_gaussian_of_a_worked_example():
    """Points (+-1, 0) and (0, +-2): covariance diag(2, 8)/3, mean variance 5/3."""
    points = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2]])[:, None]
    learned = Moments.of(as_map(points)).gaussian(0.3)
    found = distance(as_map(torch.tensor([[[1.0, 1.0]]])), learned).item()
    assert found == pytest.approx((1 / (2 / 3 + 0.5) + 1 / (8 / 3 + 0.5)) ** 0.5, rel=1e-5)


def test_covariances_are_those_of_numpy(rng):
    features = drawn(rng, 12)
    learned = Moments.of(features).gaussian(1e-9)
    for position in range(6):
        values = features[:, :, position, 0].numpy().astype(np.float64)
        inverse = learned["whitening"][position].numpy().astype(np.float64)
        assert np.allclose(inverse.T @ inverse, np.linalg.inv(np.cov(values.T)), rtol=1e-3)
        assert np.allclose(learned["mean"][position], values.mean(axis=0), atol=1e-6)


def test_images_taken_away_have_no_say(rng):
    features, odd = drawn(rng, 12), drawn(rng, 3) * 100
    rest = Moments.of(torch.cat([features, odd])).minus(Moments.of(odd)).gaussian(0.01)
    for name, value in Moments.of(features).gaussian(0.01).items():
        assert torch.allclose(value, rest[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("folds", "least", "most"), [(5, 0.0, 0.85), (90, 0.95, 1.05)])
def test_many_folds_judge_as_the_final_gaussian_judges_parts_never_learned(rng, folds, least, most):
    """90 images of 80 dimensions: without a fifth of them distances are far larger."""
    features, unseen = (
        as_map(torch.from_numpy(rng.normal(0, 1, (n, 6, 80)).astype(np.float32))) for n in (90, 60)
    )
    total = Moments.of(features)
    held_out = []
    for fold in range(folds):
        seen = features[np.arange(90) % folds == fold]
        held_out.append(distance(seen, total.minus(Moments.of(seen)).gaussian(0.01)).flatten())
    final = distance(unseen, total.gaussian(0.01)).flatten()
    assert least < final.median() / torch.cat(held_out).median() < most


def test_blocks_are_in_order():
    with pytest.raises(ValueError, match="ascending"):
        Config(blocks=(4, 2))
