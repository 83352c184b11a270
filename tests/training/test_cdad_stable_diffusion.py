"""The published form of CDAD: its network beside diffusers, its steps, its score by hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from cad_edge.errors import ArtifactError, OptionError
from cad_edge.store.artifact import Tensors, with_sharing_tasks
from cad_edge_training.backbones import load_backbone
from cad_edge_training.backbones.stable_diffusion.base import StableDiffusion
from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.forms import form_of
from cad_edge_training.methods.cdad.inputs import basis_widths
from cad_edge_training.methods.cdad.learn import build_model, recalibrate
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.methods.cdad.schedule import noised
from cad_edge_training.methods.cdad.stable_diffusion.amn import ImageAMN
from cad_edge_training.methods.cdad.stable_diffusion.network import (
    StableDiffusionNetwork,
    empty_unet,
    network_of,
)
from cad_edge_training.methods.cdad.stable_diffusion.unet import TextUNet
from tests.training.small_cdad import files_of, learned_at
from tests.training.small_products import NAMES, stream_of, write_product
from tests.training.small_stable_diffusion import learn, options
from tests.training.tiny_stable_diffusion import SIDE, WIDTH, save_stable_diffusion

FIRST, SECOND, _ = NAMES

STABLE_DIFFUSION = {
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
"""Dimensions of version 1.5; diffusers' defaults for the rest."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_stable_diffusion(tmp_path_factory.mktemp("sd") / "tiny")


@pytest.fixture(scope="module")
def backbone(folder) -> StableDiffusion:
    return load_backbone(f"sd:{folder}", SIDE)


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("products")
    for name in (FIRST, SECOND):
        write_product(place, name, good=8)
    return place


@pytest.fixture(scope="module")
def line(products, folder, tmp_path_factory) -> Path:
    """Two products, one after the other."""
    out = tmp_path_factory.mktemp("line")
    assert learn(stream_of(products, (FIRST, SECOND)), out, folder) == [FIRST, SECOND]
    return out


@pytest.fixture(scope="module")
def network(backbone) -> StableDiffusionNetwork:
    model, text = backbone.load_unet(), backbone.load_context()
    return network_of(backbone, options(), model, text).eval()


def differing(one: Tensors, other: Tensors) -> set[str]:
    return {name for name, value in one.items() if not np.array_equal(value, other[name])}


class TestNetwork:
    @pytest.mark.parametrize("scale", [0.0, 1.0])
    def test_it_is_that_of_diffusers_with_the_condition_after_the_first_convolution(
        self, network, backbone, scale
    ):
        generator = torch.Generator().manual_seed(0)
        x, time = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([3, 700])
        added = scale * torch.randn(2, WIDTH, 8, 8, generator=generator)
        model, text = network.unet.model, backbone.load_context()
        handle = model.conv_in.register_forward_hook(lambda _, given, out: out + added)
        with torch.no_grad():
            expected = model(x, time, text.expand(2, -1, -1)).sample
            handle.remove()
            found = network.unet(x, network.unet.time_biases(time), added)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)

    def test_one_time_is_that_of_all(self, network):
        x, added = torch.randn(2, 4, 8, 8), torch.randn(2, WIDTH, 8, 8)
        one, both = (network.unet.time_biases(torch.tensor(times)) for times in ([501], [501, 501]))
        with torch.no_grad():
            found, expected = (network.unet(x, times, added) for times in (one, both))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)

    def test_noise_is_added_as_diffusers_does(self, folder):
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
        z, noise, time = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([1, 999])
        expected = scheduler.add_noise(z, noise, time)
        torch.testing.assert_close(noised(z, noise, time), expected, rtol=1e-5, atol=1e-5)

    def test_what_moves(self, network):
        moving = {name for name, one in network.named_parameters() if one.requires_grad}
        assert moving == {f"{name}.weight" for name in network.projected()}
        still = {name for name, _ in network.named_parameters()} - moving
        for name in still:
            frozen = ("norm", ".bias", "time_emb", "attn2.to_k", "attn2.to_v")
            assert any(one in name for one in frozen), name
        assert any("attn2.to_q" in name for name in moving)
        assert any("attn1.to_v" in name for name in moving)

    def test_matrices_at_full_size(self):
        """258 of them with those that see the text, whose columns are 710,052 numbers (METHODS 4).

        The text's are two of each of 16 transformers, 768 wide. Two further of each have the basis
        of the queries, since they see what those see: twice 5 * 320 + 5 * 640 + 6 * 1280 = 12,480.
        """
        amn = ImageAMN(320, (32, 32), layers=8, heads=8, window=7)
        unet = TextUNet(empty_unet(STABLE_DIFFUSION), torch.zeros(77, 768))
        network = StableDiffusionNetwork(amn, unet)
        layers = {name: one for name, one in network.projected().items() if "unet" in name}
        widths = basis_widths(layers, network.basis_of())
        assert len(layers) == 258 - 32
        assert sum(one.weight[0].numel() for one in layers.values()) == 710_052 - 32 * 768
        assert sum(widths.values()) == 710_052 - 32 * 768 - 2 * 12_480
        assert max(widths.values()) == 23_040


class TestSteps:
    def test_a_step_keeps_network_noise_and_text(self, line):
        first, second = learned_at(line, FIRST, SECOND)
        assert first.tensors["held_out"].shape[1:] == (SIDE, SIDE, 3)
        assert first.tensors["held_out"].dtype == np.uint8
        assert {"noise", "size", "step", "network/unet.text"} < set(first.shared_weights)
        assert not any(name.startswith("latent/") for name in first.shared_weights)
        assert [one.shared_weights["step"].item() for one in (first, second)] == [1, 2]

    def test_the_first_step_starts_from_the_folders_weights(self, line, network):
        found = learned_at(line, FIRST)[0].shared_weights
        moving = {f"network/{name}.weight" for name in network.projected()}
        start = {
            f"network/unet.model.{name}": value.numpy()
            for name, value in network.unet.model.state_dict().items()
        }
        changed = differing(start, found)
        assert changed == {name for name in start if name in moving}
        # Steps of AdamW are at most as long as its rate, 1e-3, and a decay of 1e-5 of the weight.
        for name in changed:
            assert np.abs(start[name] - found[name]).max() < 4.1e-3 + 4e-5 * 2

    def test_a_later_step_moves_outside_of_the_bases_alone(self, line, network):
        first, second = (one.shared_weights for one in learned_at(line, FIRST, SECOND))
        bases, shared = LayerBases.from_tensors(first).by_name, network.basis_of()
        changed = {one for one in differing(first, second) if one.startswith("network/")}
        assert len(changed) > 50
        for name in changed:
            layer = name.removeprefix("network/").removesuffix(".weight")
            basis = bases[shared.get(layer, layer)]
            change = torch.from_numpy(second[name] - first[name]).flatten(1)
            assert float((change @ basis).norm()) < 1e-3 * float(change.norm()) + 1e-5, name

    def test_two_runs_give_equal_weights(self, products, line, folder, tmp_path):
        learn(stream_of(products, (FIRST,)), tmp_path, folder)
        ours, theirs = learned_at(line, FIRST)[0], learned_at(tmp_path, FIRST)[0]
        assert differing(ours.shared_weights, theirs.shared_weights) == set()
        assert differing(ours.tensors, theirs.tensors) == set()

    def test_recalibration_is_what_the_newest_version_says(self, line, backbone):
        first, second = with_sharing_tasks(learned_at(line, FIRST, SECOND))
        model = build_model(backbone, options(), first.model_tensors())
        with torch.inference_mode():
            score, located = model(torch.from_numpy(first.tensors["held_out"]))
        found = recalibrate(backbone, options(), first)
        assert found.scores == pytest.approx(sorted(score.tolist()), rel=1e-4)
        assert found.map_peaks == pytest.approx(sorted(located.amax((1, 2)).tolist()), rel=1e-4)
        assert found.scores != first.artifact.calibration.scores
        again = recalibrate(backbone, options(), second)
        assert again.scores == pytest.approx(second.artifact.calibration.scores, rel=1e-5)

    def test_a_model_shares_its_memory_and_a_step_does_not(self, line, backbone):
        """Of what the step before left, that learns on which is a copy."""
        before = dict(learned_at(line, FIRST)[0].shared_weights)
        form, name = form_of(backbone, options()), "network/unet.model.conv_in.weight"
        nothing = Parts(torch.zeros(0))
        for network, shares in (
            (form.restorer(before).network, True),
            (form.start(before, nothing, 0).network, False),
        ):
            place = network.unet.conv_in.weight.data_ptr()
            assert (place == before[name].__array_interface__["data"][0]) == shares

    def test_exemplars_are_pictures(self, products, folder, tmp_path):
        few = {"updates": "1", "exemplars": "2", "steps": "2"}
        learn(stream_of(products, (FIRST, SECOND)), tmp_path, folder, **few)
        for task in learned_at(tmp_path, FIRST, SECOND):
            assert task.tensors["exemplars"].shape == (2, SIDE, SIDE, 3)
            assert task.tensors["exemplars"].dtype == np.uint8
            assert task.tensors["exemplars_restored"].shape == (2, 4, 8, 8)

    def test_incremental_svd_learns_too(self, products, folder, tmp_path):
        learn(stream_of(products, (FIRST,)), tmp_path, folder, bases="isvd", updates="1")
        assert learned_at(tmp_path, FIRST)[0].tensors["free"] == 1


def test_score_by_hand(backbone):
    """Decoded one by one; sums of resized distances, smoothed, and their highest."""
    form = form_of(backbone, options(smoothing=2.0))
    generator = torch.Generator().manual_seed(1)
    latents, restored = (torch.randn(2, 4, 8, 8, generator=generator) / 5 for _ in range(2))
    with torch.no_grad():
        score, located = form.verdict(latents, restored)
        pictures = [backbone.decoder(one[None]) for one in (latents[1], restored[1])]
        seen, wanted = (backbone.scorer(one) for one in pictures)
        total = 0
        for one, other in zip(seen, wanted, strict=True):
            apart = ((one - other) ** 2).sum(1, keepdim=True).sqrt()
            total = total + functional.interpolate(
                apart, size=(SIDE, SIDE), mode="bilinear", align_corners=True
            )
        expected = gaussian_filter(total[0, 0].double().numpy(), 2.0)
    np.testing.assert_allclose(located[1].numpy(), expected, rtol=1e-4)
    assert float(score[1]) == pytest.approx(expected.max(), rel=1e-4)


class TestRefusals:
    @pytest.mark.parametrize(
        "more",
        [
            {"width": "128"},
            {"inner_width": "128"},
            {"channels": "32"},
            {"shrinkage": "0.1"},
            {"convolutions": "3"},
            {"blocks": "3"},
            {"initial": "small"},
            {"prediction": "x0"},
            {"share": "0.1"},
        ],
    )
    def test_options_of_other_backbones(self, products, folder, tmp_path, more):
        (name,) = more
        said = f"^{name} is an option of cdad on other backbones: sd:tiny brings .*; leave it out$"
        with pytest.raises(OptionError, match=said):
            learn(stream_of(products, (FIRST,)), tmp_path, folder, **more)
        assert files_of(tmp_path) == {}

    def test_options_that_do_not_fit(self, products, folder, tmp_path):
        for more, said in (
            ({"window": "9"}, "a neighbour window of 9 hides the whole grid of 8 x 8 cells"),
            ({"heads": "64"}, "64 heads do not divide the condition width 32"),
        ):
            with pytest.raises(OptionError, match=said):
                learn(stream_of(products, (FIRST,)), tmp_path, folder, **more)

    def test_a_network_of_other_sizes(self, line, backbone):
        weights = learned_at(line, FIRST)[0].shared_weights
        with pytest.raises(OptionError, match=r"are not those .*; give the backbone, attention_la"):
            build_model(backbone, options(attention_layers=2), weights)

    def test_another_size_of_images(self, line, folder):
        weights = learned_at(line, FIRST)[0].shared_weights
        with pytest.raises(ArtifactError, match="was learned at 64 x 64 pixels and cannot look at"):
            build_model(load_backbone(f"sd:{folder}", 128), options(), weights)

    def test_another_folder(self, products, line, tmp_path):
        out = Path(shutil.copytree(line, tmp_path / "out"))
        before = files_of(out)
        shutil.rmtree(out / SECOND)
        other = save_stable_diffusion(tmp_path / "other", seed=2)
        with pytest.raises(ArtifactError, match="sd:tiny"):
            learn(stream_of(products, (FIRST, SECOND)), out, other)
        assert files_of(out).items() <= before.items()
