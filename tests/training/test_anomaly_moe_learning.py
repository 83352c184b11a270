"""Learning with drawn experts: one pool for a step, frozen when it ends."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cad_edge.errors import ArtifactError, DatasetError, OptionError
from cad_edge.store.artifact import LearnedTask, Tensors, read_artifact
from cad_edge_training.backbones import Backbone, load_backbone
from cad_edge_training.division import divide
from cad_edge_training.folds import draw_folds
from cad_edge_training.learned import LearningRequest
from cad_edge_training.methods import load_method, saved_config
from cad_edge_training.methods.anomaly_moe.config import Config, defaults_for
from cad_edge_training.methods.anomaly_moe.drawn.global_expert import reconstruct_whole
from cad_edge_training.methods.anomaly_moe.fitted_pool import named
from cad_edge_training.methods.anomaly_moe.learn import learn as learn_alone
from cad_edge_training.methods.anomaly_moe.learn import learn_step
from cad_edge_training.methods.anomaly_moe.model import look
from tests.training.small_products import (
    LITE0,
    NAMES,
    a_request,
    learn,
    spoil,
    steps_of,
    stream_of,
    texture,
    write_stream,
)
from tests.training.tiny_models import save_dinov2

METHOD = "anomaly_moe"
DRAWN = {
    **{"start": "drawn", "form": "attention", "components": "3", "experts": "2"},
    **{"width": "16", "depth": "1", "heads": "2", "steps": "3", "warm_up": "0"},
}


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("products")
    write_stream(folder)
    return folder


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(LITE0, 64)


@pytest.fixture(scope="module")
def together(products, tmp_path_factory) -> Path:
    """All three products in one step, with enough updates for gates to settle."""
    out = tmp_path_factory.mktemp("together")
    learn(stream_of(products, NAMES), out, {**DRAWN, "joint": "true", "steps": "60"}, method=METHOD)
    return out


def options(**more: str) -> Config:
    return Config.model_validate(defaults_for(LITE0) | DRAWN | more)


def textures(name: str, count: int, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([texture(name, rng)[:64, :64] for _ in range(count)])


def request_for(
    images: np.ndarray, backbone: Backbone, seed: int = 0, **more: object
) -> LearningRequest:
    folds = draw_folds(len(images), 0.1, seed, more.get("groups"))
    return a_request(images, backbone, folds, seed, **more)


def experts_only(tensors: Tensors) -> Tensors:
    prefixes = ("patch/", "component/", "global/", "space/", "router/")
    return {name: one for name, one in tensors.items() if name.startswith(prefixes)}


def assert_equal(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert np.array_equal(value, theirs[name]), name


def files_of(artifact: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in artifact.rglob("*") if file.is_file()}


class TestTogether:
    def test_every_level_is_used_by_every_product(self, together):
        for name in NAMES:
            gates = read_artifact(together / name).tensors["product_gates"].reshape(3, 2)
            assert gates.sum() == pytest.approx(1)
            assert gates.sum(1).min() >= 0.1, name
            assert ((gates > 0).sum(1) == 1).all(), "the best of each level"

    def test_a_product_keeps_the_experts_that_it_chooses(self, together):
        owned: dict[tuple[str, str], list[Tensors]] = {}
        for name in NAMES:
            tensors = read_artifact(together / name).tensors
            gates = tensors["product_gates"].reshape(3, 2)
            for place, level in enumerate(("patch", "component", "global")):
                numbers = {one.split("/")[1] for one in tensors if one.startswith(f"{level}/")}
                assert numbers == {str(int(gates[place].argmax()))}
                (number,) = numbers
                weights = {
                    one: value
                    for one, value in tensors.items()
                    if one.startswith(f"{level}/{number}/")
                }
                owned.setdefault((level, number), []).append(weights)
        shared = [weights for weights in owned.values() if len(weights) > 1]
        assert shared, "three products and two experts of a level"
        for first, *others in shared:
            for other in others:
                assert_equal(first, other)

    def test_models_answer_and_a_blot_stands_out(self, together, backbone):
        task = read_artifact(together / "stripes")
        model = model_of(task, backbone)
        rng = np.random.default_rng(8)
        good = [backbone.recipe.apply(texture("stripes", rng)) for _ in range(4)]
        bad = [backbone.recipe.apply(spoil(texture("stripes", rng))) for _ in range(4)]
        with torch.inference_mode():
            plain, spoilt = (model.answer(torch.from_numpy(np.stack(one))) for one in (good, bad))
        torch.testing.assert_close(plain.levels.sum(1), plain.score)
        assert spoilt.score.mean() > plain.score.mean()
        assert plain.level_maps.shape == (4, 3, 4, 4)

    def test_with_image_routing_the_whole_pool_comes_along(self, products, tmp_path):
        names = NAMES[:2]
        image = {**DRAWN, "routing_at": "image"}
        learn(steps_of(products, names), tmp_path, image, method=METHOD)
        first, second = (read_artifact(tmp_path / name).tensors for name in names)
        pools = [
            {
                name: one
                for name, one in experts_only(tensors).items()
                if not name.startswith("space/")
            }
            for tensors in (first, second)
        ]
        assert_equal(*pools)
        assert "router/layer/0/weight" in first
        assert not np.array_equal(first["space/centres"], second["space/centres"])


def model_of(task: LearnedTask, backbone: Backbone):
    config = saved_config(task.artifact.task, METHOD, task.artifact.hyperparameters)
    return load_method(METHOD).build_model(backbone, config, task.tensors)


class TestForgetting:
    def test_a_later_step_changes_no_byte_and_no_older_one_matters(self, products, tmp_path):
        first = NAMES[0]
        learn(stream_of(products, NAMES[:1]), tmp_path / "a", DRAWN, method=METHOD)
        before = files_of(tmp_path / "a" / first)
        learn(steps_of(products, NAMES[:1], NAMES[1:]), tmp_path / "a", DRAWN, method=METHOD)
        assert files_of(tmp_path / "a" / first) == before
        learn(steps_of(products, NAMES[1:], NAMES[:1]), tmp_path / "b", DRAWN, method=METHOD)
        for name in NAMES:
            ours, theirs = (read_artifact(tmp_path / folder / name) for folder in "ab")
            assert_equal(ours.tensors, theirs.tensors)
            assert ours.artifact.calibration == theirs.artifact.calibration

    def test_equal_seeds_give_equal_experts(self, backbone):
        images = textures("waves", 10)
        first, again = (learn_alone(request_for(images, backbone, 5), options()) for _ in range(2))
        assert_equal(first.tensors, again.tensors)
        assert first.calibration == again.calibration
        other = learn_alone(request_for(images, backbone, 6), options()).tensors
        weights = next(name for name in first.tensors if name.endswith("qkv/weight"))
        twin = next(name for name in other if name.endswith("qkv/weight"))
        assert not np.array_equal(first.tensors[weights], other[twin])


class TestHeldOut:
    def test_held_out_parts_have_no_say_in_experts(self, backbone):
        images = textures("waves", 12)
        held = divide(12, 0.1, 0, "waves", None, 4).held_out
        assert len(held) == 4
        changed = images.copy()
        changed[held] = textures("checks", 4)
        ours, theirs = (
            learn_alone(request_for(one, backbone), options(routing_at="image"))
            for one in (images, changed)
        )
        assert_equal(experts_only(ours.tensors), experts_only(theirs.tensors))
        assert ours.calibration.scheme == "split" and len(ours.calibration.scores) <= 4
        assert ours.calibration.scores != theirs.calibration.scores

    def test_what_the_whole_explains_is_that_of_the_features(self, backbone):
        images, config = textures("waves", 12), options(experts="1")
        tensors = learn_alone(request_for(images, backbone), config).tensors
        found = {name: torch.from_numpy(one) for name, one in tensors.items()}
        division = divide(12, 0.1, 0, "waves", None, 4)
        with torch.no_grad():
            seen, layout = look(backbone, config, torch.from_numpy(images))
            space = named(found, "space")
            standard = (seen.patches - space["mean"]) / space["deviation"]
            weights = {
                name.replace("/", "."): one for name, one in named(found, "global/0").items()
            }
            pixels = backbone.normalise(torch.from_numpy(images[division.held_out]))
            made = reconstruct_whole(weights, pixels, layout.grid).flatten(2).transpose(1, 2)
        held, learned = standard[division.held_out], standard[division.learned]
        lost = (held - made).square().mean()
        usual = (held - learned.mean(0)).square().mean()
        assert load_method(METHOD).suitability(tensors) is None, "updates, and not the product"
        assert tensors["explained/global"][0] == pytest.approx(1 - float(lost / usual), abs=1e-4)
        flat = learned.flatten(0, 1)
        torch.testing.assert_close(flat.mean(0), torch.zeros(232), atol=1e-4, rtol=0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"form": "gaussian"}, "a Gaussian is fitted and not drawn"),
            ({"start": "fitted", "steps": "0"}, "attention are not fitted"),
            ({"heads": "3"}, "heads 3 do not divide width 16"),
            ({"routing": "top_k", "top_k": "7"}, "top_k 7 is more than the 6 experts"),
        ],
    )
    def test_options_that_do_not_go_together(self, products, tmp_path, values, said):
        with pytest.raises(OptionError, match=said):
            learn(stream_of(products, NAMES[:1]), tmp_path, {**DRAWN, **values}, method=METHOD)

    def test_experts_without_updates(self, backbone):
        with pytest.raises(OptionError, match="give steps, for example steps=500"):
            learn_alone(request_for(textures("waves", 8), backbone), options(steps="0"))

    def test_too_few_parts(self, backbone):
        folds = draw_folds(4, 0.1, 0)
        few = a_request(textures("waves", 3), backbone, folds)
        with pytest.raises(DatasetError, match="3 images of good parts, too few"):
            learn_alone(few, options())

    def test_identical_parts(self, backbone):
        alike = np.repeat(textures("waves", 1), 6, axis=0)
        with pytest.raises(DatasetError, match="all 6 good parts look the same"):
            learn_alone(request_for(alike, backbone), options())

    def test_another_input_size(self, together):
        with pytest.raises(ArtifactError, match="64 x 64 pixels and cannot look at 96 x 96"):
            model_of(read_artifact(together / "waves"), load_backbone(LITE0, 96))


class TestFewParts:
    def test_four_parts_and_a_batch_larger_than_them(self, backbone):
        request = request_for(textures("waves", 4), backbone)
        found = learn_alone(request, options(batch="64"))
        assert all(np.isfinite(one).all() for one in found.tensors.values())
        assert len(found.calibration.scores) + len(found.calibration.outliers) == 2

    def test_as_many_products_as_there_are_share_a_step(self, backbone):
        requests = [request_for(textures(name, 6), backbone) for name in NAMES]
        found = learn_step(requests, options())
        assert len(found) == 3
        shifts = [one.tensors["space/mean"] for one in found]
        assert np.array_equal(shifts[0], shifts[1]), "one unit for all of them"


def test_a_transformer_with_registers_routes_by_its_class_token(tmp_path):
    folder = save_dinov2(tmp_path / "registers", registers=4, side=56)
    backbone = load_backbone(f"dinov2:{folder}", 56)
    published = defaults_for("dinov2:x")
    assert published == {"groups": ("2+3+4+5", "6+7+8+9")}
    values = {**DRAWN, "groups": ("2+3+4", "5+6+7"), "routing": "top_k", "routing_at": "image"}
    config = Config.model_validate(published | values)
    images = np.stack([texture("waves", np.random.default_rng(n))[:56, :56] for n in range(8)])
    tensors = learn_alone(request_for(images, backbone), config).tensors
    assert tensors["router/layer/0/weight"].shape == (64 // 3, 64)
    with torch.no_grad():
        seen, layout = look(backbone, config, torch.from_numpy(images))
        states = backbone.run(backbone.normalise(torch.from_numpy(images)), 7)
    assert torch.equal(seen.descriptors, states[7][:, 0])
    assert layout.channels == (64, 64) and layout.grid == (8, 8)
    group = torch.stack([states[block][:, 5:] for block in (2, 3, 4)]).mean(0)
    torch.testing.assert_close(seen.patches[..., :64], group)
