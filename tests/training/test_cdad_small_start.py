"""The weights that come with CDAD: what they restore, and what of them never moves."""

import pytest
import torch

from cad_edge_studies.cdad_start.__main__ import drawn, unexplained
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.cdad.config import Config, defaults_for
from cad_edge_training.methods.cdad.feature_form import FeatureForm
from cad_edge_training.methods.cdad.form import look_at_all
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.methods.cdad.start import SMALL, Start
from tests.training.small_products import LITE0, quiet

CONFIG = Config.model_validate(defaults_for(LITE0) | {"initial": "small"})


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    """Of images that the weights were not learned from: another seed draws others."""
    form = FeatureForm(load_backbone(LITE0, 224), CONFIG)
    return look_at_all(form, drawn(6, seed=7), quiet).latents


def test_it_restores_images_that_it_has_not_seen(features):
    start = Start.small(features, CONFIG)
    parts = start.space.parts(Parts(features))
    latents, left = parts.latents, unexplained(start, parts, CONFIG)
    assert left < 0.25
    # One that says the mean of all leaves about as much as there is, and noise leaves more.
    shuffled = latents.flatten(2)[..., torch.randperm(196, generator=torch.Generator())]
    assert unexplained(start, Parts(shuffled.reshape(latents.shape)), CONFIG) > 2 * left


def test_norms_biases_and_time_stay(features):
    start = Start.small(features, CONFIG)
    moving = {name for name, one in start.network.named_parameters() if one.requires_grad}
    assert moving and all(name.endswith("weight") for name in moving)
    assert not any("norm" in name or ".time." in name for name in moving)


def test_it_is_small():
    assert SMALL.stat().st_size < 10e6
