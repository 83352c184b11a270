"""The base model against transformers' own path, and what it refuses."""

import json

import pytest
import torch

from cad_edge.errors import OptionError
from cad_edge_training.backbones import load_backbone, weights_sha256
from cad_edge_training.backbones.llava import load_llava
from tests.training.tiny_llava import LITE0_SIDE, SIGLIP_SIDE, save_tiny_llava

TOWERS = ("siglip", "lite0")


@pytest.fixture(scope="module", params=TOWERS)
def folder(request, tmp_path_factory):
    return save_tiny_llava(tmp_path_factory.mktemp("llava") / request.param, request.param)


@pytest.fixture(scope="module")
def base(folder):
    return load_backbone(f"llava:{folder}")


def some_images(base, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    side = base.recipe.height
    return torch.randint(0, 256, (batch, side, side, 3), generator=generator, dtype=torch.uint8)


def rows_of(base, images: torch.Tensor) -> torch.Tensor:
    states = base.run(base.normalise(images), base.n_blocks - 1)
    return base.image_tokens(base.tower_tokens(states))


def transformers_rows(model, pixels: torch.Tensor) -> torch.Tensor:
    """Rows of images as transformers packs them, one tile each since there are several."""
    sizes = torch.tensor([pixels.shape[-2:]] * len(pixels))
    packed = model.get_image_features(pixels, sizes, batch_num_images=[len(pixels)])
    return torch.stack(tuple(packed.pooler_output))


def test_image_rows_are_those_of_transformers(base):
    images = some_images(base)
    with torch.inference_mode():
        own = rows_of(base, images)
        theirs = transformers_rows(base.model, base.normalise(images))
    assert own.shape == (2, base.n_patches + 1, base.width)
    torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-5)
    assert torch.equal(own[0, -1], base.image_newline)


def test_logits_are_those_of_transformers(base):
    """The whole path: prompt, image rows, language model, head."""
    images = some_images(base)
    prompt = base.prompt("What is wrong?")
    image_id = base.tokenizer.token_to_id("<image>")
    one = [image_id] * (base.n_patches + 1)
    ids = torch.tensor([[*prompt.before, *one, *one, *prompt.after]])
    with torch.inference_mode():
        pixels = base.normalise(images)
        theirs = base.model(
            input_ids=ids,
            pixel_values=pixels,
            image_sizes=torch.tensor([pixels.shape[-2:]] * 2),
            batch_num_images=torch.tensor([2]),
        ).logits
        parts = [base.embed(torch.tensor(prompt.before)), *rows_of(base, images)]
        parts.append(base.embed(torch.tensor(prompt.after)))
        hidden = base.language(inputs_embeds=torch.cat(parts)[None]).last_hidden_state
        own = base.head(hidden)
    torch.testing.assert_close(own, theirs, atol=1e-4, rtol=1e-4)


def test_siglip_pixels_are_in_minus_one_to_one(tmp_path):
    base = load_llava(str(save_tiny_llava(tmp_path / "tiny")))
    image = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    got = base.normalise(image).flatten()
    torch.testing.assert_close(got, torch.tensor([-1.0, -0.6, 1.0]))


def test_shape_of_the_tower(folder, base):
    lite0 = folder.name == "lite0"
    assert base.recipe.width == base.recipe.height == (LITE0_SIDE if lite0 else SIGLIP_SIDE)
    assert base.n_blocks == (11 if lite0 else 2)
    assert base.token_blocks == ((4, 10) if lite0 else (1,))
    assert base.routing_blocks == ((2, 4) if lite0 else (1,))
    states = base.run(base.normalise(some_images(base)), base.n_blocks - 1)
    for index in base.routing_blocks:
        assert base.feature_map(states[index]).ndim == 4


def test_siglip_features_lie_where_their_patches_lie(tmp_path):
    base = load_llava(str(save_tiny_llava(tmp_path / "tiny")))
    hidden = torch.arange(2 * 4 * 16.0).reshape(2, 4, 16)
    features = base.feature_map(hidden)
    assert features.shape == (2, 16, 2, 2)
    assert torch.equal(features[1, :, 1, 0], hidden[1, 2])


def test_only_the_blocks_before_the_chosen_hidden_state_run(tmp_path):
    folder = save_tiny_llava(tmp_path / "tiny")
    rewrite(folder / "config.json", vision_feature_layer=-2)
    base = load_llava(str(folder))
    assert base.n_blocks == 1 and base.token_blocks == (0,)
    images = some_images(base)
    with torch.inference_mode():
        theirs = transformers_rows(base.model, base.normalise(images))
        torch.testing.assert_close(rows_of(base, images), theirs, atol=1e-5, rtol=1e-5)


def test_identity_is_over_all_weights(folder, base):
    assert base.identity.id == f"llava:{folder.name}"
    assert base.identity.sha256 == weights_sha256(base.model.state_dict())
    again = load_llava(str(folder))
    assert again.identity == base.identity
    with torch.no_grad():
        again.image_newline[0] += 1e-3
    assert weights_sha256(again.model.state_dict()) != base.identity.sha256


def test_frozen_in_float32(base):
    assert not any(module.training for module in base.modules())
    for parameter in base.parameters():
        assert not parameter.requires_grad and parameter.dtype == torch.float32


def test_prompts_are_refused(base):
    with pytest.raises(OptionError, match=r"takes no prompts; choose another backbone"):
        base.prompt_shape(0, 4)
    hidden = base.stem(base.normalise(some_images(base)))
    with pytest.raises(OptionError, match=r"takes no prompts"):
        base.block(0, hidden, torch.zeros(1))


def test_only_the_towers_own_size(folder, base):
    side = base.recipe.width
    assert load_llava(str(folder), side).recipe == base.recipe
    with pytest.raises(OptionError, match=rf"size 80 does not fit .* one tile of {side} px"):
        load_llava(str(folder), 80)


def rewrite(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
