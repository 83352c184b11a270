"""CLIP and DINOv2 against transformers, prefix attention against attention written out."""

import numpy as np
import pytest
import torch
from torch import nn

from cad_edge.errors import OptionError
from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge_training.backbones.clip import DEVIATION, MEAN, load_clip
from cad_edge_training.backbones.dinov2 import load_dinov2
from tests.training.tiny_models import SIDE, save_clip, save_dinov2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "clip": save_clip(root / "tiny-clip"),
        "dinov2": save_dinov2(root / "tiny-dinov2"),
        "registers": save_dinov2(root / "tiny-registers", registers=3),
    }


@pytest.fixture(scope="module")
def clip(folders):
    return load_clip(str(folders["clip"]))


def random(shape, seed=5):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def reference(folder, pixels):
    """Hidden states of transformers' own forward pass: before block 0, then after every block."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tower = getattr(model, "vision_model", model)
    resized = {"interpolate_pos_encoding": True} if tower is not model else {}
    with torch.no_grad():
        return tower(pixels, output_hidden_states=True, **resized).hidden_states


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("clip", 32),
        ("clip", 48),
        ("dinov2", 28),
        ("dinov2", 21),
        ("registers", 28),
        ("registers", 42),
    ],
)
def test_hidden_states_equal_those_of_transformers(folders, name, size):
    load = load_clip if name == "clip" else load_dinov2
    backbone = load(str(folders[name]), size)
    pixels = random((2, 3, size, size))
    states = backbone.run(pixels, backbone.n_blocks - 1)
    theirs = reference(folders[name], pixels)
    torch.testing.assert_close(backbone.stem(pixels), theirs[0], atol=1e-5, rtol=0)
    for index, state in states.items():
        torch.testing.assert_close(state, theirs[index + 1], atol=1e-5, rtol=1e-5)


def test_feature_maps_hold_the_patches_in_reading_order(folders, clip):
    backbone = load_dinov2(str(folders["registers"]))
    hidden = random((2, 1 + 3 + 16, 64))
    features = backbone.feature_map(hidden)
    assert features.shape == (2, 64, 4, 4)
    assert torch.equal(features[1, :, 2, 3], hidden[1, 4 + 2 * 4 + 3])
    assert clip.feature_map(random((2, 17, 64))).shape == (2, 64, 4, 4)


def test_normalise_is_clips(clip):
    image = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    expected = (image / 255 - np.array(MEAN)) / np.array(DEVIATION)
    got = clip.normalise(torch.from_numpy(image))
    np.testing.assert_allclose(got.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


def test_prefix_attention_equals_concatenation_by_hand(clip):
    """l=2 of Algorithm 1: one raw row before the keys and one before the values of each head."""
    block = clip.blocks[3]
    normed, prompt = random((2, 17, 64)), random((2, 1, 64), 6)
    got = block.attend(normed, prompt)
    heads, width = 4, 16
    parts = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        query, key, value = (f(normed)[..., part] for f in (block.query, block.key, block.value))
        key = torch.cat((prompt[0, :, part].expand(2, 1, width), key), dim=1)
        value = torch.cat((prompt[1, :, part].expand(2, 1, width), value), dim=1)
        weight = torch.softmax(query @ key.mT / width**0.5, dim=-1)
        assert weight.shape == (2, 17, 18)
        parts.append(weight @ value)
    torch.testing.assert_close(got, block.out(torch.cat(parts, dim=-1)), atol=1e-5, rtol=1e-5)
    assert clip.block(3, normed, prompt).shape == normed.shape


def test_prompts_are_shaped_by_block_and_change_the_features(clip):
    pixels = random((1, 3, SIDE, SIDE))
    prompt = random(clip.prompt_shape(2, 5))
    assert prompt.shape == (2, 5, 64)
    plain, prompted = clip.run(pixels, 3), clip.run(pixels, 3, {2: prompt})
    assert torch.equal(plain[1], prompted[1])
    assert not torch.allclose(plain[2], prompted[2], atol=1e-3)


def test_features_do_not_depend_on_later_blocks(folders):
    backbone = load_clip(str(folders["clip"]))
    pixels, prompt = random((1, 3, SIDE, SIDE)), random((2, 1, 64))
    before = backbone.run(pixels, 5, {0: prompt})[5]
    for parameter in backbone.blocks[6:].parameters():
        parameter.data.normal_(generator=torch.Generator().manual_seed(0))
    later = backbone.run(pixels, 7, {0: prompt, 6: prompt, 7: prompt})
    assert torch.equal(before, later[5])


def test_text_and_patches_meet_as_in_transformers(folders, clip):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folders["clip"], local_files_only=True).eval()
    embeddings = clip.embed_text("a photo of a red screw")
    assert embeddings.shape == (8, 32)
    ids = torch.tensor([clip.text.tokenizer("a photo of a red screw")["input_ids"]])
    with torch.no_grad():
        theirs = model.text_projection(model.text_model(ids).pooler_output)
        tokens = random((2, 16, 64))
        joint = model.visual_projection(model.vision_model.post_layernorm(tokens))
    ours = clip.encode_text_embeddings(embeddings[None])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(clip.project(tokens), joint)
    assert clip.text_width == joint.shape[-1] == 24


def test_identity_is_of_the_weights_not_of_the_size_or_place(folders, tmp_path):
    first = load_clip(str(folders["clip"]), 32).identity
    assert first.id == "clip:tiny-clip"
    assert load_clip(str(folders["clip"]), 48).identity == first
    other = load_clip(str(save_clip(tmp_path / "tiny-clip", seed=2)))
    assert other.identity.id == first.id
    assert other.identity.sha256 != first.sha256
    assert not any(parameter.requires_grad for parameter in other.parameters())


def test_what_cannot_be_loaded_is_refused_in_one_sentence(folders, tmp_path):
    with pytest.raises(OptionError, match="cannot be loaded"):
        load_clip(str(tmp_path))
    with pytest.raises(OptionError, match="holds a dinov2 model"):
        load_clip(str(folders["dinov2"]))
    with pytest.raises(OptionError, match="take a multiple, for example 32"):
        load_clip(str(folders["clip"]), 33)
    bare = load_clip(str(save_clip(tmp_path / "bare", tokenizer=False)))
    with pytest.raises(OptionError, match="no tokenizer"):
        bare.embed_text("a photo")
    with pytest.raises(OptionError, match="has 17 tokens"):
        bare.encode_text_embeddings(torch.zeros(1, 17, 32))


def test_a_checkpoint_that_lacks_weights_is_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_clip(tmp_path / "torn")
    weights = load_file(folder / "model.safetensors")
    del weights["vision_model.encoder.layers.0.mlp.fc1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OptionError, match=r"lacks the weights .*fc1"):
        load_clip(str(folder))


class Prompted(nn.Module):
    """What an exporter wraps: uint8 frames and prompts in, a feature map out."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, image, prompt):
        pixels = self.backbone.normalise(image)
        return self.backbone.feature_map(self.backbone.run(pixels, 1, {1: prompt})[1])


@pytest.mark.filterwarnings("ignore")
def test_onnx_gives_the_numbers_of_torch(folders, tmp_path):
    onnxruntime = load_onnxruntime()
    backbone = load_dinov2(str(folders["registers"]))
    side = backbone.recipe.width
    image = torch.from_numpy(
        np.random.default_rng(1).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    )
    prompt = random((2, 2, 64))
    model = Prompted(backbone)
    torch.onnx.export(
        model,
        (image[:2], prompt),
        tmp_path / "block.onnx",
        input_names=["image", "prompt"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)}, None),
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(
        tmp_path / "block.onnx", providers=["CPUExecutionProvider"]
    )
    assert [entry.name for entry in session.get_inputs()] == ["image", "prompt"]
    for batch in (1, 3):
        feeds = {"image": image[:batch].numpy(), "prompt": prompt.numpy()}
        expected = model(image[:batch], prompt).numpy()
        np.testing.assert_allclose(session.run(None, feeds)[0], expected, atol=1e-4, rtol=1e-4)
