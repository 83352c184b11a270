import numpy as np
import pytest
import torch

from cad_edge.errors import OptionError
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.cmpmb import prompts as module
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.contrastive import structural_contrastive_loss
from cad_edge_training.methods.cmpmb.prompts import (
    EarlyStates,
    learn_prompts,
    prompted_features,
    region_ids,
)
from tests.training.tiny_models import SIDE, save_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return load_backbone(f"clip:{save_clip(tmp_path_factory.mktemp('models') / 'tiny-clip')}")


def quiet(what, done, total):
    assert 0 < done <= total


def pictures(n=4, side=SIDE):
    rng = np.random.default_rng(8)
    images = rng.integers(0, 40, (n, side, side, 3), dtype=np.uint8)
    images[:, :, side // 2 :] += 150
    return images


def loss_of(backbone, images, config, prompts):
    early = EarlyStates(backbone, images, config).at(torch.arange(len(images)))
    regions = region_ids(backbone, early, images, config, quiet)
    with torch.no_grad():
        features = prompted_features(backbone, early, prompts, config)
    return structural_contrastive_loss(features, regions, config.temperature).item()


@pytest.mark.parametrize("first", [0, 2])
def test_learning_lowers_the_loss(clip, first):
    config = Config(
        blocks=(1, 3), prompt_from_block=first, epochs=6, learning_rate=0.05, batch_size=2
    )
    start = learn_prompts(
        clip, pictures(), config.model_copy(update={"learning_rate": 1e-12}), 3, quiet
    )
    learned = learn_prompts(clip, pictures(), config, 3, quiet)
    assert set(learned) == set(range(first, 4))
    assert all(prompt.shape == (2, 1, 64) for prompt in learned.values())
    assert all(prompt.min() >= 0 and prompt.max() <= 1 for prompt in start.values())
    assert loss_of(clip, pictures(), config, learned) < loss_of(clip, pictures(), config, start)
    assert all(parameter.grad is None for parameter in clip.parameters())


def test_equal_seeds_give_equal_prompts_with_and_without_cache(clip, monkeypatch):
    config = Config(blocks=(3,), prompt_from_block=2, epochs=2, learning_rate=0.01, batch_size=2)
    first = learn_prompts(clip, pictures(), config, 5, quiet)
    monkeypatch.setattr(module, "CACHE_BYTES", 0)
    again = learn_prompts(clip, pictures(), config, 5, quiet)
    other = learn_prompts(clip, pictures(), config, 6, quiet)
    torch.testing.assert_close(first[2], again[2], atol=1e-6, rtol=0)
    assert not torch.allclose(first[2], other[2])


def test_prompted_features_are_those_of_a_whole_run(clip):
    config = Config(blocks=(0, 1, 4), prompt_from_block=2)
    images = pictures()
    prompts = {2: torch.rand(2, 1, 64, generator=torch.Generator().manual_seed(0))}
    early = EarlyStates(clip, images, config).at(torch.tensor([2, 0]))
    got = prompted_features(clip, early, prompts, config)
    pixels = clip.normalise(torch.from_numpy(images[[2, 0]]))
    states = clip.run(pixels, 4, prompts)
    expected = torch.cat([states[block][:, 1:] for block in (0, 1, 4)], dim=2)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_additive_prompts_start_from_the_unprompted_trunk():
    backbone = load_backbone("efficientnet-lite0", 64)
    config = Config(blocks=(4, 5), prompt_from_block=5, epochs=3, learning_rate=0.05, text=False)
    images = pictures(2, 64)
    learned = learn_prompts(backbone, images, config, 1, quiet)
    assert {block: tuple(prompt.shape) for block, prompt in learned.items()} == {5: (40,)}
    zero = {5: torch.zeros(40)}
    assert loss_of(backbone, images, config, learned) < loss_of(backbone, images, config, zero)


def test_prompts_behind_the_features_are_refused(clip):
    with pytest.raises(OptionError, match="prompt_from_block=4 lies behind"):
        learn_prompts(clip, pictures(), Config(blocks=(3,), prompt_from_block=4), 0, quiet)
