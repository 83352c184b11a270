"""EfficientNet against transformers, TensorFlow's padding, and the image processor's arithmetic."""

import json
import shutil

import numpy as np
import pytest
import torch

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import OptionError
from cad_edge_training.backbones import load_backbone
from cad_edge_training.backbones.dinov2 import DEVIATION, MEAN
from cad_edge_training.backbones.efficientnet import EfficientNet, load_efficientnet
from cad_edge_training.backbones.mobile_trunk import SameConv
from cad_edge_training.methods.cmpmb.config import Config, defaults_for
from tests.training.tiny_models import (
    blotches,
    efficientnet_config,
    save_dinov2,
    save_efficientnet,
)

# As in google/efficientnet-b4, whose deviations are square roots of ImageNet's.
PUBLISHED = {
    "image_processor_type": "EfficientNetImageProcessor",
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "rescale_offset": False,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.47853944, 0.4732864, 0.47434163],
    "include_top": True,
}
SETTINGS = {
    "published": PUBLISHED,
    "once": {**PUBLISHED, "include_top": False},
    "around zero": {**PUBLISHED, "rescale_factor": 1 / 127.5, "rescale_offset": True},
    "top alone": {**PUBLISHED, "do_normalize": False},
    "rescaled alone": {**PUBLISHED, "do_normalize": False, "include_top": False},
    "raw": {**PUBLISHED, "do_rescale": False},
    "left out": {"image_processor_type": "EfficientNetImageProcessor"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_efficientnet(tmp_path_factory.mktemp("models") / "tiny-efficientnet")


@pytest.fixture(scope="module")
def backbone(folder):
    return load_efficientnet(str(folder), 64)


def random(shape, seed=5):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def reference(folder, pixels):
    """Hidden states of transformers' own forward pass: before block 0, then after every block."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        embedded = model.embeddings(pixels)
        return model.encoder(embedded, output_hidden_states=True).hidden_states


def assert_states_equal(folder, size):
    backbone = load_efficientnet(str(folder), size)
    pixels = blotches(2, size, torch.Generator().manual_seed(5))
    with torch.inference_mode():
        stem = backbone.stem(pixels)
        states = backbone.run(pixels, backbone.n_blocks - 1)
    theirs = reference(folder, pixels)
    torch.testing.assert_close(stem, theirs[0], atol=1e-5, rtol=1e-5)
    assert len(states) == len(theirs) - 1 == 13
    for index, state in states.items():
        spread = float(theirs[index + 1].std())
        assert 0.1 < spread < 20
        torch.testing.assert_close(state, theirs[index + 1], atol=1e-5 * spread, rtol=1e-5)
        assert backbone.feature_map(state) is state


def test_hidden_states_equal_those_of_transformers(folder):
    assert_states_equal(folder, 64)


def test_at_the_pretraining_size_odd_grids_are_padded_as_transformers_does(tmp_path):
    """Blocks 3 and 9 meet grids of 19 and 5, as block 6 of B4 meets one of 95 at 380 px."""
    config = efficientnet_config(side=76, padding=(3, 9))
    assert_states_equal(save_efficientnet(tmp_path / "odd", config), 76)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [8, 14, 9, 95])
def test_padding_at_stride_2_is_tensorflows_and_transformers(kernel, size):
    """transformers knows the size of its configuration alone; odd ones it pads on all sides."""
    from transformers.models.efficientnet.modeling_efficientnet import correct_pad

    convolution = SameConv(1, 1, kernel, 2, bias=False)
    image = random((1, 1, size, size))
    with torch.no_grad():
        convolution.weight.copy_(random(convolution.weight.shape, 6))
        got = convolution(image)
        padded = torch.nn.functional.pad(image, correct_pad(kernel, adjust=size % 2 == 0))
        theirs = torch.nn.functional.conv2d(padded, convolution.weight, stride=2)
    torch.testing.assert_close(got, theirs)
    assert got.shape[-1] == -(-size // 2)


def test_a_grid_that_is_even_here_is_not_padded_for_the_pretraining_size(tmp_path):
    """What transformers does at another size moves the features of such a block by a pixel."""
    even = save_efficientnet(tmp_path / "even")
    odd = shutil.copytree(even, tmp_path / "odd")
    efficientnet_config(side=76, padding=(3, 9)).save_pretrained(odd)
    pixels = random((1, 3, 64, 64))
    states = load_efficientnet(str(odd), 64).run(pixels, 3)
    theirs = reference(odd, pixels)
    torch.testing.assert_close(states[3], reference(even, pixels)[4], atol=1e-5, rtol=1e-5)
    assert states[3].shape == theirs[4].shape
    assert float((states[3] - theirs[4]).abs().max()) > 0.1


@pytest.mark.parametrize(
    ("width", "depth", "ends", "channels"),
    [
        (1.0, 1.0, (0, 2, 4, 10), (16, 24, 40, 112)),
        (1.4, 1.8, (1, 5, 9, 21), (24, 32, 56, 160)),
        (2.0, 3.1, (3, 10, 17, 37), (32, 48, 80, 224)),
    ],
    ids=["b0", "b4", "b7"],
)
def test_stages_of_published_networks(width, depth, ends, channels):
    from transformers import EfficientNetModel

    config = efficientnet_config(width_coefficient=width, depth_coefficient=depth)
    with torch.device("meta"):
        trunk = EfficientNet(EfficientNetModel(config).eval(), 224).eval()
        states = trunk.run(torch.zeros(1, 3, 224, 224), ends[-1])
    assert trunk.stage_ends == ends
    assert tuple(trunk.widths[end] for end in ends) == channels
    assert trunk.routing_blocks == ends[1:3]
    shapes = [tuple(states[end].shape) for end in ends]
    assert shapes == [
        (1, width, side, side) for width, side in zip(channels, (112, 56, 28, 14), strict=True)
    ]
    assert all(states[end + 1].shape[2] < states[end].shape[2] for end in ends[:-1])


def test_stages_of_the_embedded_default():
    trunk = load_backbone("efficientnet-lite0", 64)
    states = trunk.run(random((1, 3, 64, 64)), trunk.n_blocks - 1)
    assert trunk.stage_ends == (0, 2, 4, 10) and trunk.routing_blocks == (2, 4)
    assert [states[end].shape[-1] for end in trunk.stage_ends] == [32, 16, 8, 4]
    assert [states[end + 1].shape[-1] for end in trunk.stage_ends] == [16, 8, 4, 2]
    assert trunk.widths == [states[index].shape[1] for index in range(16)]


def test_a_network_without_one_of_the_strides_is_refused():
    from transformers import EfficientNetModel

    config = efficientnet_config(strides=(1, 2, 2, 1, 1, 1, 1))
    with torch.device("meta"), pytest.raises(OptionError, match="no stage of stride 16; take one"):
        EfficientNet(EfficientNetModel(config), 64)
    grey = efficientnet_config(num_channels=1)
    with torch.device("meta"), pytest.raises(OptionError, match="looks at 1 channels"):
        EfficientNet(EfficientNetModel(grey), 64)


def test_prompt_is_added_to_every_position_of_a_blocks_input(backbone):
    pixels = random((1, 3, 64, 64))
    with torch.inference_mode():
        plain = backbone.run(pixels, 4)
        prompt = random(backbone.prompt_shape(4, 1), 3)
        moved = backbone.run(pixels, 4, {4: prompt})
        expected = backbone.block(4, plain[3] + prompt[None, :, None, None])
    assert torch.equal(moved[3], plain[3]) and torch.equal(moved[4], expected)
    assert not torch.allclose(moved[4], plain[4], atol=1e-3)
    assert backbone.prompt_shape(0, 1) == (backbone.stem(pixels).shape[1],)


@pytest.mark.parametrize("name", SETTINGS)
def test_pixels_are_those_of_transformers_image_processor(tmp_path, name):
    processors = pytest.importorskip(
        "transformers.models.efficientnet.image_processing_pil_efficientnet"
    )
    settings = SETTINGS[name]
    given = {key: value for key, value in settings.items() if key != "image_processor_type"}
    processor = processors.EfficientNetImageProcessorPil(do_resize=False, **given)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = processor(image, return_tensors="pt")["pixel_values"]
    folder = save_efficientnet(tmp_path / "tiny", settings=settings)
    got = load_efficientnet(str(folder), 8).normalise(torch.from_numpy(image)[None])
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-5)


def test_published_numbers_and_none_at_all_are_imagenets(tmp_path, backbone):
    image = torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8)
    expected = (np.array([0, 127, 255]) / 255 - np.array(MEAN)) / np.array(DEVIATION)
    np.testing.assert_allclose(backbone.normalise(image).flatten(), expected, atol=1e-6)
    published = load_efficientnet(str(save_efficientnet(tmp_path / "b", settings=PUBLISHED)))
    np.testing.assert_allclose(published.normalise(image).flatten(), expected, atol=1e-5)


def test_another_processor_does_not_divide_twice(tmp_path):
    settings = {"image_processor_type": "ViTImageProcessor", "image_mean": 0.5, "image_std": 0.25}
    other = load_efficientnet(str(save_efficientnet(tmp_path / "other", settings=settings)))
    white = torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)
    np.testing.assert_allclose(other.normalise(white).flatten(), [2, 2, 2], atol=1e-6)


def test_identity_is_of_weights_and_normalisation_not_of_the_size_or_place(folder, tmp_path):
    first = load_efficientnet(str(folder), 64).identity
    assert first.id == "efficientnet:tiny-efficientnet"
    whole = load_backbone(f"efficientnet:{folder}")
    assert whole.identity == first and whole.recipe == ImageRecipe(width=224, height=224)
    assert not whole.training and not any(one.requires_grad for one in whole.parameters())
    same = save_efficientnet(tmp_path / "tiny-efficientnet")
    assert load_efficientnet(str(same)).identity == first
    (same / "preprocessor_config.json").write_text(json.dumps(SETTINGS["once"]))
    assert load_efficientnet(str(same)).identity.sha256 != first.sha256
    other = save_efficientnet(tmp_path / "other" / "tiny-efficientnet", seed=2)
    assert load_efficientnet(str(other)).identity.sha256 != first.sha256


def test_a_classifier_is_as_good_as_its_trunk(tmp_path, folder):
    """The published checkpoints are classifiers."""
    from transformers import AutoModel, EfficientNetForImageClassification

    classifier = EfficientNetForImageClassification(efficientnet_config())
    classifier.efficientnet = AutoModel.from_pretrained(folder)
    classifier.save_pretrained(tmp_path / "classifier")
    got = load_efficientnet(str(tmp_path / "classifier")).identity
    assert got.sha256 == load_efficientnet(str(folder)).identity.sha256


@pytest.mark.parametrize(
    "broken",
    [
        {"image_std": [0.2, 0, 0.2]},
        {"image_std": [0.2, 0.2]},
        {"image_mean": ["a", "b", "c"]},
        {"image_mean": None},
        {"rescale_factor": "nan"},
    ],
)
def test_settings_that_are_no_numbers_are_refused(tmp_path, broken):
    folder = save_efficientnet(tmp_path / "tiny", settings={**PUBLISHED, **broken})
    with pytest.raises(OptionError, match=r"normalises images by .* get its preprocessor_config"):
        load_efficientnet(str(folder))


def test_what_cannot_be_loaded_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(OptionError, match="cannot be loaded"):
        load_efficientnet(str(tmp_path))
    with pytest.raises(OptionError, match="holds a dinov2 model; give one of type efficientnet"):
        load_efficientnet(str(save_dinov2(tmp_path / "other")))
    torn = save_efficientnet(tmp_path / "torn")
    (torn / "preprocessor_config.json").write_text('{"image_mean": ')
    with pytest.raises(OptionError, match=r"torn cannot be loaded .*not a valid JSON"):
        load_efficientnet(str(torn))
    with pytest.raises(OptionError, match=r"take .*efficientnet:ID"):
        load_backbone("efficientnet:")


def test_cmpmb_starts_from_options_that_fit_a_network_without_words():
    assert not Config.model_validate(defaults_for("efficientnet:google/efficientnet-b4")).text


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_efficientnet(tmp_path / "torn")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.blocks.2.squeeze_excite.reduce.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OptionError, match=r"lacks the weights .*squeeze_excite"):
        load_efficientnet(str(folder))
