"""What CDAD refuses, each in one sentence; what it says of a product; where a first step starts."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from cad_edge.errors import ArtifactError, CadEdgeError, DatasetError, OptionError
from cad_edge.store.artifact import LearnedTask, read_artifact
from cad_edge_training.backbones import Backbone, load_backbone
from cad_edge_training.methods.cdad import start as starting
from cad_edge_training.methods.cdad.feature_form import FeatureForm
from cad_edge_training.methods.cdad.form import look_at_all
from cad_edge_training.methods.cdad.learn import build_model, learn_step
from cad_edge_training.methods.cdad.method import METHOD as CDAD
from cad_edge_training.methods.cdad.start import Start
from cad_edge_training.train import train
from tests.training import small_products
from tests.training.small_cdad import (
    METHOD,
    SIDE,
    TINY,
    as_task,
    files_of,
    learn,
    options,
    request_for,
    textures,
)
from tests.training.small_products import LITE0, NAMES, quiet, stream_of, write_product

FIRST, SECOND, _ = NAMES


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("products")
    for name in (FIRST, SECOND):
        write_product(folder, name, good=6)
    return folder


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(LITE0, SIDE)


@pytest.fixture(scope="module")
def learned(products, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("learned")
    learn(stream_of(products, (FIRST,)), out)
    return out


@pytest.fixture(scope="module")
def first(learned) -> LearnedTask:
    return read_artifact(learned / FIRST)


def seen_at(backbone: Backbone) -> torch.Tensor:
    """Features of six parts."""
    return look_at_all(FeatureForm(backbone, options()), textures(FIRST, 6), quiet).latents


def with_basis(task: LearnedTask, layer: str, basis: np.ndarray) -> LearnedTask:
    return replace(task, shared_weights=task.shared_weights | {f"basis/{layer}": basis})


def refused(kind: type[CadEdgeError], said: str, backbone: Backbone, *tasks: LearnedTask, **more):
    with pytest.raises(kind, match=said) as problem:
        learn_step([request_for(SECOND, backbone, earlier=tasks)], options(**more))
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("more", "size", "kind", "said"),
    [
        ({"updates": "6"}, 64, OptionError, "was learned with updates=5 and not 6, .* give the s"),
        ({"projection": "none"}, 64, OptionError, "projection=update and not none"),
        ({}, 96, ArtifactError, "was learned at 64x64 px, not at 96x96 px, .* give --size 64"),
        ({"steps": "0"}, 64, OptionError, "--set steps"),
        ({"steps": "502"}, 64, OptionError, "502 steps do not fit"),
    ],
)
def test_a_second_step_by_the_command(products, learned, tmp_path, more, size, kind, said):
    out = Path(shutil.copytree(learned, tmp_path / "out"))
    before = files_of(out)
    with pytest.raises(kind, match=said) as problem:
        small_products.learn(
            stream_of(products, (FIRST, SECOND)), out, {**TINY, **more}, size=size, method=METHOD
        )
    assert "\n" not in str(problem.value)
    assert files_of(out) == before


@pytest.mark.parametrize("window", ["5", "7"])
def test_windows_that_hide_the_grid(products, tmp_path, window):
    with pytest.raises(OptionError, match=f"window of {window} hides the whole grid of 4 x 4 cel"):
        learn(stream_of(products, (FIRST,)), tmp_path, window=window)
    assert files_of(tmp_path) == {}


def test_blocks_that_the_backbone_lacks(products, tmp_path):
    with pytest.raises(CadEdgeError, match="99"):
        learn(stream_of(products, (FIRST,)), tmp_path, blocks="4,99")
    assert files_of(tmp_path) == {}


def test_bases_of_another_width(first, backbone):
    other = np.eye(7, 2, dtype=np.float32)
    said = "layer unet.conv_in takes in 144 where its basis is of 7 numbers: .* version or width"
    refused(ArtifactError, said, backbone, with_basis(first, "unet.conv_in", other))
    unknown = with_basis(first, "unet.attention", other)
    refused(ArtifactError, "layer unet.attention does not exist where its basis", backbone, unknown)
    skew = with_basis(first, "unet.conv_in", np.ones((144, 2), np.float32))
    refused(ArtifactError, "basis unet.conv_in of shape .* is not orthonormal", backbone, skew)


def test_a_network_of_another_width(first, backbone):
    weights = first.shared_weights
    name = "network/unet.conv_in.weight"
    wider = replace(first, shared_weights=weights | {name: np.zeros((24, 16, 3, 3), np.float32)})
    refused(OptionError, "unet.conv_in.weight are not those that these options", backbone, wider)
    missing = {one: value for one, value in weights.items() if one != name}
    lacking = replace(first, shared_weights=missing)
    refused(OptionError, "unet.conv_in.weight are not those that these options", backbone, lacking)


def test_other_input_sizes(first):
    """Of 60 px the grid is the same, but what cells look at is not."""
    for size in (60, 96):
        said = f"was learned at 64 x 64 pixels and cannot look at {size} x {size}; load the backb"
        other = load_backbone(LITE0, size)
        refused(ArtifactError, said, other, first)
        with pytest.raises(ArtifactError, match=said):
            build_model(other, options(), first.shared_weights)


def test_more_directions_than_there_are(first, backbone):
    """With all energy protected random images take everything within some steps."""
    config = options(energy=1, sampled=1, updates=1)
    rng, earlier = np.random.default_rng(0), ()
    for number in range(3):
        images = rng.integers(0, 256, (40, SIDE, SIDE, 3), dtype=np.uint8)
        request = request_for(str(number), backbone, images, earlier=earlier)
        if number == 2:
            said = r"is full: .* \(left: amn\.local\.convs\.0 0\.0%, .* and 23 more\); lower energy"
            with pytest.raises(CadEdgeError, match=said):
                learn_step([request], config)
            continue
        (found,) = learn_step([request], config)
        earlier = (*earlier, as_task(first, str(number), found, config))
        assert len(CDAD.remarks(found.tensors)) == 2


def test_parts_that_are_all_the_same(backbone):
    same = textures(FIRST, 1).repeat(8, axis=0)
    with pytest.raises(
        DatasetError, match=r"task checks: all 6 good parts look the same; .* give "
    ):
        learn_step([request_for(FIRST, backbone, same)], options())


def test_too_few_parts(backbone):
    with pytest.raises(DatasetError, match=r"3 images of good parts, too few .* at least 4"):
        request = replace(request_for(FIRST, backbone), images=textures(FIRST, 3))
        learn_step([request], options())


class TestRemarks:
    @pytest.mark.parametrize(
        ("explained", "free", "full"),
        [(0.8, 0.5, False), (0.3, 0.1, False), (0.29, 0.5, True), (0.8, 0.09, True)],
    )
    def test_a_full_network_is_said(self, explained, free, full):
        said = CDAD.remarks({"explained": np.array([explained]), "free": np.array([free])})
        assert f"restores {explained:.0%} of how" in said[0]
        assert f"{free:.0%} of all directions were free for it" in said[0]
        assert [
            one.startswith("the network is full: at least 30% and 10%") for one in said[1:]
        ] == ([True] * full)

    def test_room_is_said_where_there_is_less_than_all(self):
        said = CDAD.remarks({"explained": np.array(0.5), "free": np.array(1.0)})
        assert said == ["the network restores 50% of how its held-out good parts differ"]

    def test_no_share_is_below_0(self):
        assert "restores 0% of" in CDAD.remarks({"explained": np.array(-7), "free": np.array(1)})[0]

    def test_the_command_says_it(self, products, tmp_path):
        said = []
        plan = small_products.TrainingPlan(METHOD, LITE0, 64, TINY, 0)
        train(stream_of(products, (FIRST,)), tmp_path, plan, lambda name: quiet, said.append)
        assert any(f"{FIRST}: the network restores" in one for one in said)
        assert any(f"{FIRST}: the network is full: at least" in one for one in said)


class TestSmallStart:
    """Weights that come with cad-edge; here those that a drawn start would have."""

    @pytest.fixture
    def small(self, backbone, tmp_path, monkeypatch) -> Start:
        features = seen_at(backbone)
        start = Start.first(features, options(), 5)
        save_file(start.tensors(), tmp_path / "model.safetensors")
        monkeypatch.setattr(starting, "SMALL", tmp_path / "model.safetensors")
        return start

    @pytest.mark.parametrize("projection", ["update", "none"])
    def test_norms_biases_and_time_never_move(self, small, first, backbone, projection):
        config = options(initial="small", projection=projection)
        (one,) = learn_step([request_for(FIRST, backbone)], config)
        earlier = (as_task(first, FIRST, one, config),)
        (other,) = learn_step([request_for(SECOND, backbone, earlier=earlier)], config)
        layers = {f"network/{name}.weight" for name in small.network.projected()}
        for found, before in ((one, small.tensors()), (other, one.shared_weights)):
            moved = {
                name
                for name, value in before.items()
                if not name.startswith("basis/")
                and name not in ("step", "size")
                and not np.array_equal(value, found.shared_weights[name])
            }
            assert moved and moved <= layers

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"width": 32}, "are not those that these options ask for; give the width, inner"),
            ({"attention_layers": 1}, "are not those that these options ask for"),
            ({"channels": 24}, "have 16 channels and not 24; give channels=16"),
            ({"blocks": (10,)}, "of 232 channels on 4 x 4 cells, and these images give 112 on 4 x"),
        ],
    )
    def test_options_that_do_not_fit_it(self, small, backbone, more, said):
        with pytest.raises(OptionError, match=said):
            learn_step([request_for(FIRST, backbone)], options(initial="small", **more))

    def test_sizes_that_do_not_fit_it(self, small):
        request = request_for(
            FIRST, load_backbone(LITE0, 96), np.tile(textures(FIRST), (1, 2, 2, 1))
        )
        request = replace(request, images=request.images[:, :96, :96])
        said = r"on 4 x 4 cells, and these images give 232 on 6 x 6; .* with initial=drawn$"
        with pytest.raises(OptionError, match=said):
            learn_step([request], options(initial="small"))


def test_a_drawn_start_is_seeded_and_leaves_torch_alone(backbone):
    features = seen_at(backbone)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, again, other = (Start.first(features, options(), seed).tensors() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(np.array_equal(value, again[name]) for name, value in one.items())
    assert not np.array_equal(one["noise"], other["noise"])
    assert one["noise"].shape == (1, 16, 4, 4)
