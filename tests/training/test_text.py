import math

import numpy as np
import pytest
import torch

from cad_edge.errors import OptionError
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.cmpmb.config import Config, unsupported_parts
from cad_edge_training.methods.cmpmb.text import (
    learn_text_prompt,
    sentence,
    sentence_feature,
    text_loss,
    text_map,
)
from tests.training.tiny_models import SIDE, save_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return load_backbone(f"clip:{save_clip(tmp_path_factory.mktemp('models') / 'tiny-clip')}")


def quiet(what, done, total):
    assert 0 < done <= total


def random(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


IMAGES = np.random.default_rng(0).integers(90, 130, (5, SIDE, SIDE, 3), dtype=np.uint8)


def test_the_sentence_is_words_then_vectors_then_the_end(clip):
    assert sentence("red_screw") == "a photo of a red screw with"
    words = clip.embed_text(sentence("screw"))
    vectors = random((5, 32))
    feature = sentence_feature(clip, words, vectors)
    whole = torch.cat((words[:-1], vectors, words[-1:]))[None]
    expected = clip.encode_text_embeddings(whole)[0]
    torch.testing.assert_close(feature, expected / expected.norm())
    # Start, six words, five vectors: the end token stands at place 12 and nothing comes after.
    assert whole.shape == (1, 13, 32)


def test_gradient_reaches_the_learned_vectors_only(clip):
    words = clip.embed_text(sentence("screw"))
    vectors = random((5, 32)).requires_grad_()
    patches = torch.nn.functional.normalize(random((3, 2, 16, 24)), dim=-1)
    text_loss(patches, sentence_feature(clip, words, vectors), 1.5).backward()
    assert vectors.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in clip.parameters())
    assert not words.requires_grad


def test_loss_by_hand():
    """Good patches on the sentence (S_T = 0), noisy ones opposite (2), b = 1, k = 1.5."""
    patches = torch.tensor([[[[1.0, 0.0]] * 3, [[-1.0, 0.0]] * 3]])
    answer = 1 / (1 + math.exp(-1.5))  # of noisy ones, whose label is 1; of good ones 1 - answer
    loss = text_loss(patches, torch.tensor([1.0, 0.0]), 1.5)
    assert loss.item() == pytest.approx((1 - answer) ** 2, rel=1e-5)
    loss = text_loss(patches, torch.tensor([1.0, 0.0]), 1.5, "cross_entropy")
    assert loss.item() == pytest.approx(-math.log(answer), rel=1e-5)


def test_noise_is_drawn_anew_for_every_step(clip, monkeypatch):
    """Good parts pass the trunk once, their noisy copies in every epoch, each time others."""
    seen = []
    run = type(clip).run

    def watched(self, pixels, last, prompts):
        seen.append(pixels)
        return run(self, pixels, last, prompts)

    monkeypatch.setattr(type(clip), "run", watched)
    config = Config(blocks=(3,), class_name="screw", text_epochs=3)
    learn_text_prompt(clip, IMAGES, config, 2, quiet)
    good, *noisy = seen
    assert len(noisy) == 3
    # The order of the images differs from epoch to epoch; the sum over them does not.
    sums = [(one.sum(dim=0) - good.sum(dim=0)) for one in noisy]
    assert all(0.8 < (one / 5**0.5).std() < 1.2 for one in sums)
    assert not torch.allclose(sums[0], sums[1], atol=0.1)


def test_learning_lowers_the_loss_and_repeats(clip):
    config = Config(blocks=(3,), class_name="screw", text_epochs=30, text_learning_rate=0.02)
    start = config.model_copy(update={"text_learning_rate": 1e-12})
    before = learn_text_prompt(clip, IMAGES, start, 2, quiet)
    after = learn_text_prompt(clip, IMAGES, config, 2, quiet)
    assert after.shape == (24,)
    assert after.norm().item() == pytest.approx(1, rel=1e-5)
    assert torch.equal(after, learn_text_prompt(clip, IMAGES, config, 2, quiet))
    pixels = clip.normalise(torch.from_numpy(IMAGES))
    noise = random(pixels.shape, 9)
    good, noisy = (clip.run(seen, 3) for seen in (pixels, pixels + noise))

    def margin(feature):
        return (
            text_map(clip, noisy, feature, config).mean()
            - text_map(clip, good, feature, config).mean()
        )

    assert margin(after) > margin(before)


@pytest.mark.parametrize("layer", ["same", "last"])
def test_the_map_is_one_minus_cosine(clip, layer):
    config = Config(blocks=(3,), text_layer=layer)
    pixels = clip.normalise(torch.from_numpy(IMAGES))
    states = clip.run(pixels, 7)
    feature = torch.nn.functional.normalize(random((24,)), dim=0)
    got = text_map(clip, {block: states[block] for block in range(4)}, feature, config)
    tokens = states[7 if layer == "last" else 3][:, 1:]
    cosine = torch.nn.functional.cosine_similarity(clip.project(tokens), feature, dim=-1)
    torch.testing.assert_close(got, (1 - cosine).reshape(5, 4, 4), atol=1e-5, rtol=1e-5)


def test_visual_prompts_change_what_the_sentence_is_learned_from(clip):
    config = Config(blocks=(3,), class_name="screw", text_epochs=2, text_learning_rate=0.05)
    plain = learn_text_prompt(clip, IMAGES, config, 2, quiet)
    prompted = learn_text_prompt(clip, IMAGES, config, 2, quiet, {0: random((2, 1, 64))})
    assert not torch.allclose(plain, prompted)


def test_backbones_without_words_are_refused(clip):
    bare = load_backbone("efficientnet-lite0", 32)
    with pytest.raises(OptionError, match="has no text tower"):
        learn_text_prompt(bare, IMAGES, Config(blocks=(3,)), 0, quiet)
    with pytest.raises(OptionError, match="no tokenizer that can read"):
        learn_text_prompt(clip, IMAGES, Config(blocks=(3,), class_name="été"), 0, quiet)


def test_superpixels_are_said_to_stand_in_for_regions():
    said = unsupported_parts("clip:folder", Config())
    assert said is not None and "--set regions=sam:FOLDER" in said
    assert unsupported_parts("clip:folder", Config(regions="sam:folder")) is None
    assert unsupported_parts("clip:folder", Config(prompts=False)) is None
    assert "text tower" in unsupported_parts("efficientnet-lite0", Config(regions="sam:folder"))
