"""Latents of CDAD: whitened principal directions, by hand and against numpy."""

import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.cdad.feature_form import FeatureForm
from cad_edge_training.methods.cdad.form import look_at_all
from cad_edge_training.methods.cdad.latents import LatentSpace, fit_space, look
from tests.training.small_cdad import options, textures
from tests.training.small_products import LITE0, quiet

SHRINKAGE = 0.05


def drawn_features(channels: int = 12, images: int = 40) -> torch.Tensor:
    """Features (n, d, 3, 4) whose channels depend on each other, of unlike size and place."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(images * 12, channels)) * np.linspace(2, 0.3, channels)
    mixed = own @ rng.normal(size=(channels, channels)) * np.logspace(-2, 2, channels) + 7
    return torch.from_numpy(mixed.reshape(images, 3, 4, channels)).permute(0, 3, 1, 2)


def columns(maps: torch.Tensor) -> np.ndarray:
    """Maps (n, c, h, w) as rows (n h w, c)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2).double().numpy()


def test_two_channels_that_say_the_same_by_hand():
    """Of z-scores u, u the direction (1, 1) / sqrt 2 has variance 2; with s of it added 2 + 2 s."""
    one = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(4, 1, 1, 1)
    features = torch.cat([one, 5 - 2 * one], dim=1)
    found = fit_space(features, 1, SHRINKAGE)(features).flatten()
    values = np.array([1.0, 2.0, 3.0, 6.0])
    scores = (values - 3) / math.sqrt(14 / 3)
    # The mean square of four z-scores is 3 / 4 where their deviation is that of a sample.
    expected = scores * math.sqrt(2) / math.sqrt(2 * 0.75 * (1 + SHRINKAGE))
    sign = np.sign(found[3].item())
    np.testing.assert_allclose(found.numpy() * sign, expected, atol=1e-5)


def test_latents_are_white_but_for_the_shrinkage():
    """Singular values s of the z-scores give variances e = s^2 / m; latents have e / (e + s E)."""
    features = drawn_features()
    kept = 5
    latents = columns(fit_space(features, kept, SHRINKAGE)(features.float()))
    rows = columns(features)
    scores = (rows - rows.mean(0)) / rows.std(0, ddof=1)
    variances = np.linalg.svd(scores, compute_uv=False)[:kept] ** 2 / len(rows)
    expected = variances / (variances + SHRINKAGE * variances.mean())
    np.testing.assert_allclose(latents.mean(0), 0, atol=1e-4)
    covariance = latents.T @ latents / len(latents)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-4)
    np.testing.assert_allclose(np.sort(np.diag(covariance)), np.sort(expected), atol=1e-4)
    assert expected.max() < 1 and expected.min() > 0.8


def test_latents_do_not_depend_on_the_scale_of_channels():
    features = drawn_features().float()
    scaled = features * torch.linspace(0.1, 30, 12)[:, None, None] - 4
    one, other = (fit_space(some, 4, SHRINKAGE)(some) for some in (features, scaled))
    torch.testing.assert_close(one.abs(), other.abs(), atol=1e-3, rtol=1e-3)


def test_fewer_channels_than_asked_for():
    features = drawn_features(channels=3).float()
    space = fit_space(features, 64, SHRINKAGE)
    assert space.matrix.shape == (3, 3) and space.bias.shape == (3,)
    assert space(features).shape == (40, 3, 3, 4)


def test_a_channel_that_never_changes_is_harmless():
    features = drawn_features(channels=4).float()
    features[:, 2] = 3.0
    latents = fit_space(features, 4, SHRINKAGE)(features)
    assert bool(torch.isfinite(latents).all())
    assert latents.abs().max() < 100


def test_a_space_comes_back_from_its_tensors_and_from_a_file(tmp_path):
    features = drawn_features().float()
    space = fit_space(features, 4, SHRINKAGE)
    save_file(space.tensors(), tmp_path / "space.safetensors")
    for tensors in (space.tensors(), load_file(tmp_path / "space.safetensors")):
        again = LatentSpace.of_arrays(tensors)
        assert torch.equal(space(features), again(features))
    assert set(space.tensors()) == {"latent/matrix", "latent/bias"}


@pytest.mark.parametrize(("blocks", "channels"), [((4, 7, 10), 232), ((10,), 112)])
def test_features_lie_on_the_deepest_blocks_grid(blocks, channels):
    backbone, config = load_backbone(LITE0, 64), options(blocks=blocks)
    images = textures("waves", 3)
    with torch.inference_mode():
        alone = look(backbone, config, torch.from_numpy(images[2:]))
    seen = look_at_all(FeatureForm(backbone, config), images, quiet).latents
    assert seen.shape == (3, channels, 4, 4)
    torch.testing.assert_close(seen[2:], alone, atol=1e-4, rtol=1e-4)
