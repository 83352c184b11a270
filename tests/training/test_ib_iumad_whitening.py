"""Residuals whitened by good parts: by hand, by an independent form, and where it cannot be."""

import numpy as np
import pytest
import torch

from cad_edge.errors import ArtifactError
from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.frozen import FrozenFeatures
from cad_edge_training.methods.ib_iumad.held_out import numbered, spread_evenly, to_keep
from cad_edge_training.methods.ib_iumad.method import METHOD
from cad_edge_training.methods.ib_iumad.model import residuals, whitening_of
from cad_edge_training.methods.ib_iumad.whitening import (
    SHRINKAGE,
    Residuals,
    cross_fitted_distances,
    distances,
    fit,
    fit_or_identity,
    suffices,
)

ALONE = Config(modality="rgb", reconstruct=False)
"""What is seen is the residual."""


def drawn(images: int, cells: int = 9, channels: int = 3, depth: bool = True) -> Residuals:
    generator = np.random.default_rng(images)
    parts = {
        name: torch.from_numpy(generator.normal(size=(images, cells, channels)).astype(np.float32))
        for name in (("rgb", "depth") if depth else ("rgb",))
    }
    return Residuals(parts, torch.ones(images, cells) if depth else None)


def test_whitening_by_hand():
    """Variances of 12 and 1 / 3 around (1, 2); 0.05 of their mean, 37 / 6, is 37 / 120."""
    along, across = 12 + 37 / 120, 1 / 3 + 37 / 120
    corners = torch.tensor([[[4.0, 2.5], [-2.0, 2.5], [4.0, 1.5], [-2.0, 1.5]]])
    found = fit(Residuals({"rgb": corners}))
    assert found.mean.tolist() == [1, 2]
    expected = np.diag([along**-0.5, across**-0.5])
    np.testing.assert_allclose(found.matrix.numpy(), expected, rtol=1e-6, atol=1e-7)
    beside = Residuals({"rgb": torch.tensor([[[4.0, 2.0], [1.0, 2.5]]])})
    expected = [[3 / along**0.5, 0.5 / across**0.5]]
    np.testing.assert_allclose(distances(beside, found).numpy(), expected, rtol=1e-6)


def test_lengths_by_hand():
    """A modality each of (3, 4) and (0, 2), of which a quarter was measured: 5 + 0.5."""
    parts = {"rgb": torch.tensor([[[3.0, 4.0]]]), "depth": torch.tensor([[[0.0, 2.0]]])}
    assert Residuals(parts, torch.tensor([[0.25]])).lengths().tolist() == [[5.5]]


def test_distance_is_that_of_mahalanobis():
    given, shown = drawn(20), drawn(2)
    rows = given.joined().double().flatten(0, 1).numpy()
    covariance = np.cov(rows.T)
    covariance += SHRINKAGE * np.trace(covariance) / 6 * np.eye(6)
    gaps = shown.joined().double().flatten(0, 1).numpy() - rows.mean(axis=0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", gaps, np.linalg.inv(covariance), gaps))
    found = distances(shown, fit(given)).flatten().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_depth_that_was_not_measured_has_no_say():
    given, shown = drawn(20), drawn(2)
    far = {name: one + (1e3 if name == "depth" else 0) for name, one in shown.parts.items()}
    nothing = torch.zeros(2, 9)
    whitening = fit(given)
    near = distances(Residuals(shown.parts, nothing), whitening)
    assert torch.equal(distances(Residuals(far, nothing), whitening), near)
    # Neither has it in what the whitening is fitted to.
    holes = torch.ones(20, 9)
    holes[:, :4] = 0
    spoilt = {name: one.clone() for name, one in given.parts.items()}
    spoilt["depth"][:, :4] = 1e3
    one, other = fit(Residuals(spoilt, holes)), fit(Residuals(given.parts, holes))
    assert torch.equal(one.matrix, other.matrix) and torch.equal(one.mean, other.mean)


def test_held_out_parts_are_judged_by_the_others():
    """Parts of a group are left out together, wherever they lie."""
    given = drawn(8)
    groups = (0, 1, 0, 2, 3, 4, 4, 5)
    found = cross_fitted_distances(given, groups, 3)
    for part, others in ((0, [1, 3, 4, 5, 6, 7]), (1, [0, 2, 3, 4, 5, 6, 7])):
        whitening = fit(given.rows(torch.tensor(others)))
        expected = distances(given.rows(torch.tensor([part])), whitening)[0]
        torch.testing.assert_close(found[part], expected)
    assert found.shape == (3, 9)


def test_too_few_parts_are_compared_by_length():
    assert suffices((0, 1, 2), 9, 18) and not suffices((0, 1, 2), 9, 19)
    assert not suffices((0, 0, 0, 1), 9, 18), "all but one are of one group"
    given = drawn(2, cells=2)
    whitening = fit_or_identity(given, (0, 1))
    expected = torch.linalg.vector_norm(given.joined(), dim=-1)
    torch.testing.assert_close(distances(given, whitening), expected)
    torch.testing.assert_close(cross_fitted_distances(given, (0, 1), 2), expected)
    said = METHOD.remarks({"whitened": np.array(0)})
    assert len(said) == 1 and "too few good parts" in said[0]
    assert METHOD.remarks({"whitened": np.array(1)}) == METHOD.remarks({}) == []


def test_images_all_alike_have_finite_distances():
    alike = Residuals({"rgb": torch.zeros(9, 4, 3)})
    assert torch.isfinite(distances(Residuals({"rgb": torch.ones(1, 4, 3)}), fit(alike))).all()


def kept_tokens(channels: int) -> dict[str, np.ndarray]:
    seen = FrozenFeatures({"rgb": torch.randn(4, 9, channels)}, None)
    return to_keep(seen, seen, tuple(range(8)))


def test_features_of_another_model_are_refused():
    scaling = {"rgb": (torch.zeros(3), torch.ones(3))}
    assert whitening_of(ALONE, None, scaling, kept_tokens(3)) is not None
    with pytest.raises(ArtifactError, match="5 channels of rgb where the network has 3"):
        whitening_of(ALONE, None, scaling, kept_tokens(5))
    older = {name: one for name, one in kept_tokens(3).items() if name != "held_out/group"}
    with pytest.raises(ArtifactError, match="learn the products again"):
        whitening_of(ALONE, None, scaling, older)


def test_without_a_network_what_is_seen_is_the_residual():
    seen = FrozenFeatures({"rgb": torch.randn(2, 9, 3)}, None)
    assert torch.equal(residuals(ALONE, None, seen).parts["rgb"], seen.tokens["rgb"])


def test_chosen_parts_are_spread_and_groups_numbered():
    assert spread_evenly(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    many = spread_evenly(np.arange(100))
    assert len(many) == 32 and (many[0], many[-1]) == (0, 99)
    assert numbered(["b", "a", "b", "c"], np.array([0, 2, 3])) == (0, 0, 1)
    assert numbered(None, np.array([7, 3])) == (0, 1)


def test_options_that_judge_nothing_are_refused():
    with pytest.raises(ValueError, match="start=fitted"):
        Config(epochs=0)
    with pytest.raises(ValueError, match="residual=whitened"):
        Config(reconstruct=False, residual="plain")
