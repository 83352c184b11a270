"""The embedded default against what is known of it: shapes, classes, padding, identity."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import OptionError
from cad_edge_training.backbones import DEFAULT_BACKBONE, load_backbone, weights_sha256
from cad_edge_training.backbones.efficientnet_lite0 import weights_path
from cad_edge_training.backbones.mobile_trunk import BN_EPSILON, SameConv


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(DEFAULT_BACKBONE)


@pytest.fixture(scope="module")
def checkpoint():
    return torch.load(weights_path(), map_location="cpu", weights_only=True)


def photograph(name: str) -> torch.Tensor:
    data = pytest.importorskip("skimage.data")
    frame = ImageRecipe(width=224, height=224).apply(np.ascontiguousarray(getattr(data, name)()))
    return torch.from_numpy(frame)[None]


def classes(backbone, checkpoint, name: str) -> list[int]:
    """Three likeliest ImageNet classes, by the checkpoint's own head behind the last block."""
    with torch.inference_mode():
        hidden = backbone.run(backbone.normalise(photograph(name)), 15)[15]
        hidden = functional.conv2d(hidden, checkpoint["_conv_head.weight"])
        norm = [checkpoint[f"_bn1.{part}"] for part in ("running_mean", "running_var")]
        scale = [checkpoint[f"_bn1.{part}"] for part in ("weight", "bias")]
        hidden = functional.relu6(functional.batch_norm(hidden, *norm, *scale, eps=BN_EPSILON))
        logits = functional.linear(
            hidden.mean(dim=(2, 3)), checkpoint["_fc.weight"], checkpoint["_fc.bias"]
        )
    return logits[0].topk(3).indices.tolist()


def test_a_cat_is_three_kinds_of_cat(backbone, checkpoint):
    assert classes(backbone, checkpoint, "chelsea") == [285, 282, 281]


def test_a_cup_of_coffee_is_an_espresso(backbone, checkpoint):
    assert classes(backbone, checkpoint, "coffee")[0] == 967


def test_trunk_uses_every_tensor_of_the_checkpoint_but_the_head(backbone, checkpoint):
    own = backbone.state_dict()
    rest = {name for name in checkpoint if name not in own}
    assert {name.partition(".")[0] for name in rest} == {"_conv_head", "_bn1", "_fc"}
    assert len(checkpoint) == 296
    assert all(torch.equal(own[name], checkpoint[name]) for name in own)


@pytest.mark.parametrize(("size", "early", "late"), [(224, 28, 14), (64, 8, 4), (100, 13, 7)])
def test_shapes_between_blocks(size, early, late):
    trunk = load_backbone(DEFAULT_BACKBONE, size)
    image = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    with torch.inference_mode():
        states = trunk.run(trunk.normalise(image), 10)
    assert states[4].shape == (1, 40, early, early)
    assert states[10].shape == (1, 112, late, late)
    assert trunk.feature_map(states[4]) is states[4]
    assert trunk.recipe == ImageRecipe(width=size, height=size)
    assert sorted(states) == list(range(11)) and trunk.n_blocks == 16


def test_padding_is_tensorflows_same():
    """At stride 2 on an even side the odd pixel of padding is after the image, not before it."""
    convolution = SameConv(1, 1, 3, 2, bias=False)
    with torch.no_grad():
        convolution.weight.fill_(1.0)
        out = convolution(torch.arange(16.0).reshape(1, 1, 4, 4))
    # Windows start at 0 and 2: rows {0, 1, 2} and {2, 3}, columns the same.
    assert out.flatten().tolist() == [45.0, 39.0, 66.0, 50.0]


def test_pixels_are_normalised_as_in_pretraining(backbone):
    image = torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8)
    got = backbone.normalise(image).flatten().tolist()
    assert got == [-127 / 128, 0.0, 1.0]


def test_prompt_is_added_to_every_position_of_a_blocks_input(backbone):
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(1, 3, 64, 64, generator=generator)
    with torch.inference_mode():
        plain = backbone.run(pixels, 6)
        prompt = torch.rand(backbone.prompt_shape(6, 1), generator=generator)
        moved = backbone.run(pixels, 6, {6: prompt})
        expected = backbone.block(6, plain[5] + prompt[None, :, None, None])
    assert torch.equal(moved[5], plain[5]) and torch.equal(moved[6], expected)
    assert not torch.equal(moved[6], plain[6])


def test_features_do_not_depend_on_deeper_blocks(backbone):
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        assert torch.equal(backbone.run(pixels, 4)[4], backbone.run(pixels, 15)[4])


def test_identity_is_that_of_the_weights_at_every_size(backbone):
    other = load_backbone(DEFAULT_BACKBONE, 64)
    assert other.identity == backbone.identity and backbone.identity.id == DEFAULT_BACKBONE
    state = backbone.state_dict()
    name = "_blocks.3._bn1.weight"
    nudged = {**state, name: state[name] + 1e-7}
    assert weights_sha256(state) == backbone.identity.sha256 != weights_sha256(nudged)


def test_frozen(backbone):
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_block_that_is_not_there_is_refused(backbone):
    with pytest.raises(OptionError, match=r"block 16 is not in efficientnet-lite0"):
        backbone.run(torch.zeros(1, 3, 64, 64), 16)
