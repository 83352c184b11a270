"""Stable Diffusion 1.5 as a backbone, beside diffusers and transformers; what is refused of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cad_edge.errors import OptionError
from cad_edge_training.backbones import load_backbone
from cad_edge_training.backbones.stable_diffusion.base import StableDiffusion
from cad_edge_training.backbones.stable_diffusion.scorer import MaxPool3x3
from tests.training.tiny_models import save_clip
from tests.training.tiny_stable_diffusion import (
    SIDE,
    TEXT,
    TOKENS,
    change_config,
    save_stable_diffusion,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_stable_diffusion(tmp_path_factory.mktemp("sd") / "tiny")


@pytest.fixture(scope="module")
def backbone(folder) -> StableDiffusion:
    return load_backbone(f"sd:{folder}", SIDE)


@pytest.fixture
def broken(folder, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(folder, tmp_path / "broken"))


@pytest.fixture(scope="module")
def pixels(backbone) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    return backbone.normalise(image)


def refused(folder: Path, said: str, size: int | None = SIDE) -> None:
    with pytest.raises(OptionError, match=said) as problem:
        load_backbone(f"sd:{folder}", size)
    assert "\n" not in str(problem.value)


class TestParts:
    def test_pixels_are_those_of_imagenet_by_hand(self, backbone):
        """(0 - .485) / .229 = -2.1179, (1 - .456) / .224 = 2.4286, (.2 - .406) / .225 = -.9156."""
        image = torch.tensor([0, 255, 51], dtype=torch.uint8).expand(1, SIDE, SIDE, 3)
        found = backbone.normalise(image)[0, :, 5, 7]
        torch.testing.assert_close(
            found, torch.tensor([-2.1179, 2.4286, -0.9156]), atol=1e-4, rtol=0
        )

    def test_latents_are_the_scaled_mean_of_the_posterior(self, backbone, folder, pixels):
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
        with torch.no_grad():
            latents = backbone.run(pixels, 4)[4]
            expected = vae.encode(pixels).latent_dist.mean * 0.18215
            decoded = vae.decode(latents / 0.18215).sample
            torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(backbone.decoder(latents), decoded, rtol=1e-4, atol=1e-4)
        assert latents.shape == (2, 4, 8, 8) and backbone.grid == (8, 8)

    def test_scored_features_are_those_of_transformers(self, backbone, folder, pixels):
        from transformers import ResNetModel

        model = ResNetModel.from_pretrained(folder / "scorer").eval()
        with torch.no_grad():
            expected = model(pixels, output_hidden_states=True).hidden_states[1:4]
            found = backbone.scorer(pixels)
        assert [tuple(one.shape[2:]) for one in found] == [(16, 16), (8, 8), (4, 4)]
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    def test_largest_of_nine(self):
        x = torch.rand(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
        assert torch.equal(MaxPool3x3()(x), nn.MaxPool2d(3, stride=2, padding=1)(x))

    def test_blocks_and_prompts(self, backbone):
        with pytest.raises(
            OptionError, match=r"block 5 is not in sd:tiny, whose blocks are 0\.\.4"
        ):
            backbone.run(torch.zeros(1, 3, SIDE, SIDE), 5)
        with pytest.raises(OptionError, match="sd:tiny takes no prompts; give --method cdad"):
            backbone.prompt_shape(0, 4)

    def test_identity_is_of_all_weights_and_of_no_place(self, backbone, broken):
        weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
        assert load_backbone(f"sd:{broken}", SIDE).identity.sha256 == backbone.identity.sha256
        state = load_file(weights)
        state["conv_in.bias"][0] += 1
        save_file(state, weights)
        assert load_backbone(f"sd:{broken}", SIDE).identity.sha256 != backbone.identity.sha256
        assert backbone.identity.id == "sd:tiny"

    def test_the_size_is_256_if_none_is_given(self, folder):
        assert load_backbone(f"sd:{folder}").grid == (32, 32)


class TestText:
    def test_it_is_stored(self, backbone, folder):
        expected = load_file(folder / "empty_text.safetensors")["context"]
        assert torch.equal(backbone.load_context(), expected)
        assert expected.shape == (TOKENS, TEXT)

    def test_the_text_encoder_says_it_else(self, broken, tmp_path):
        from transformers import CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

        save_clip(tmp_path / "clip")
        (broken / "empty_text.safetensors").unlink()
        refused(broken, "has neither empty_text.safetensors nor a text_encoder as safetensors")
        config = CLIPModel.from_pretrained(tmp_path / "clip").config.text_config.to_dict()
        config |= {"hidden_size": TEXT, "intermediate_size": 24}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = CLIPTextModel(CLIPTextConfig(**config)).eval()
        encoder.save_pretrained(broken / "text_encoder")
        tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "clip")
        tokenizer.save_pretrained(broken / "tokenizer")
        found = load_backbone(f"sd:{broken}", SIDE).load_context()
        # Start and end of the text, then the padding up to its 16 places.
        ids = torch.tensor([[0, 1] + [tokenizer.pad_token_id] * 14])
        with torch.no_grad():
            expected = encoder(ids).last_hidden_state[0]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("tensors", "said"),
        [
            ({"context": torch.zeros(TOKENS, 8)}, "shape .7, 8., and its U-Net attends to 16"),
            ({"context": torch.full((1, TEXT), float("nan"))}, "attends to 16 finite numbers"),
            ({"text": torch.zeros(TOKENS, TEXT)}, "holds no tensor context; write it again"),
        ],
    )
    def test_others_are_refused(self, broken, tensors, said):
        save_file(tensors, broken / "empty_text.safetensors")
        with pytest.raises(OptionError, match=said):
            load_backbone(f"sd:{broken}", SIDE).load_context()


class TestRefusals:
    @pytest.mark.parametrize("part", ["unet", "vae", "scheduler", "scorer"])
    def test_a_part_is_missing(self, broken, part):
        shutil.rmtree(broken / part)
        refused(broken, f"has no {part}/.*; give a Stable Diffusion 1.5 in the layout of diffusers")

    def test_there_is_no_folder(self, tmp_path):
        refused(tmp_path / "nowhere", "nowhere is no folder; give sd: the folder of a Stable Diff")

    @pytest.mark.parametrize("part", ["unet", "vae", "scorer"])
    def test_weights_are_pickled(self, broken, part):
        for path in (broken / part).glob("*.safetensors"):
            torch.save(load_file(path), path.with_suffix(".bin"))
            path.unlink()
        refused(broken, f"{part} has no weights as safetensors, and pickled ones are not read; sav")

    @pytest.mark.parametrize(
        ("file", "changed", "said"),
        [
            (
                "scheduler/scheduler_config.json",
                {"prediction_type": "v_prediction"},
                "has prediction_type=v_prediction, and Stable Diffusion 1.5 has epsilon; give one",
            ),
            (
                "scheduler/scheduler_config.json",
                {"beta_schedule": "linear"},
                "has beta_schedule=linear, and Stable Diffusion 1.5 has scaled_linear",
            ),
            (
                "unet/config.json",
                {"in_channels": 9},
                "has in_channels=9 where the autoencoder's latents have 4; give the U-Net that",
            ),
            ("vae/config.json", {"latent_channels": 16}, "in_channels=4 where .* latents have 16"),
            (
                "unet/config.json",
                {"addition_embed_type": "text_time"},
                "has addition_embed_type=text_time, and Stable Diffusion 1.5 has None",
            ),
            (
                "unet/config.json",
                {"down_block_types": ["AttnDownBlock2D", "DownBlock2D"]},
                "has a AttnDownBlock2D; give a U-Net of Stable Diffusion 1.5",
            ),
            (
                "vae/config.json",
                {"block_out_channels": [8, 8, 16]},
                "halves images 2 times and not 3; give the autoencoder of Stable Diffusion 1.5",
            ),
            ("vae/config.json", {"use_quant_conv": False}, "has use_quant_conv=False, and Stable"),
            (
                "scorer/config.json",
                {"downsample_in_first_stage": True},
                "no network whose first st",
            ),
        ],
    )
    def test_it_is_another_model(self, broken, file, changed, said):
        change_config(broken, file, **changed)
        refused(broken, said)

    def test_the_schedule_is_no_json(self, broken):
        (broken / "scheduler" / "scheduler_config.json").write_text("{")
        refused(broken, "is no JSON; get the folder again")

    def test_the_scorer_is_no_resnet(self, broken, tmp_path):
        shutil.rmtree(broken / "scorer")
        save_clip(broken / "scorer", tokenizer=False)
        refused(broken, "holds a clip model; give one of type resnet")

    def test_weights_are_missing_or_damaged(self, broken):
        path = broken / "vae" / "diffusion_pytorch_model.safetensors"
        state = load_file(path)
        save_file({name: one for name, one in state.items() if name != "quant_conv.bias"}, path)
        refused(broken, "lacks the weights quant_conv.bias; get it again")
        unet = broken / "unet" / "diffusion_pytorch_model.safetensors"
        unet.write_bytes(b"no weights")
        save_file(state, path)
        refused(broken, "cannot be read .*; get it again")

    @pytest.mark.parametrize("size", [60, 72])
    def test_a_size_does_not_fit(self, folder, size):
        refused(
            folder, f"size {size} does not fit tiny, .* 4 times; give --size a multiple of 16", size
        )


def test_diffusers_is_imported_by_nobody_who_does_not_load_it():
    probe = (
        "import sys\n"
        "from cad_edge_training.commands import train\n"
        "from cad_edge_training.methods import load_method\n"
        "from cad_edge_training.backbones import backbone_names\n"
        "load_method('cdad'), backbone_names()\n"
        "from cad_edge_export.fusions.cdad import FUSION\n"
        "print('diffusers' in sys.modules, 'torchvision' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["False", "False"], done.stderr
