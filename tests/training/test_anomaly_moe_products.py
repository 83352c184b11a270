"""AnomalyMoE learning real pixels: few parts, equal parts, what is said, what is refused."""

import numpy as np
import pytest
import torch

from cad_edge.errors import DatasetError, OptionError
from cad_edge.store.artifact import read_artifact
from cad_edge_training.backbones import load_backbone
from cad_edge_training.folds import draw_folds
from cad_edge_training.methods import load_method
from cad_edge_training.methods.anomaly_moe.config import LEVELS
from cad_edge_training.train import TrainingPlan, read_config, train
from tests.training.small_products import LITE0, a_request, quiet, texture, write_stream

METHOD = load_method("anomaly_moe")
OPTIONS = {"channels": "16", "rank": "4", "components": "3"}


def config(**options: str):
    return read_config(TrainingPlan("anomaly_moe", LITE0, 64, {**OPTIONS, **options}, 0))


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(LITE0, 64)


def parts(backbone, count: int, name: str = "waves") -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([backbone.recipe.apply(texture(name, rng)) for _ in range(count)])


def learned(images, backbone, **options):
    request = a_request(images, backbone, draw_folds(len(images), 0.1, 0))
    return METHOD.learn(request, config(**options))


class TestFewParts:
    def test_four_are_learned_and_the_rank_is_what_they_leave(self, backbone):
        found = learned(parts(backbone, 4), backbone)
        used = np.linalg.norm(found.tensors["global/0/basis"], axis=0) > 0.5
        assert used.sum() == 2, "four parts less two"
        assert all(np.isfinite(value).all() for value in found.tensors.values())
        assert len(found.calibration.scores) == 4

    def test_the_rank_that_falls_is_said(self, backbone):
        said = "its expert for the whole has 2 of 4 directions"
        (line,) = METHOD.remarks(learned(parts(backbone, 4), backbone).tensors)
        assert line.startswith(said)
        assert METHOD.remarks(learned(parts(backbone, 6), backbone).tensors) == []

    def test_fewer_are_refused(self, backbone):
        with pytest.raises(DatasetError, match="at least 4"):
            learned(parts(backbone, 3), backbone)

    def test_equal_parts_are_refused_by_name(self, backbone):
        images = np.repeat(parts(backbone, 1), 8, axis=0)
        with pytest.raises(DatasetError, match="task waves: all 8 good parts look the same"):
            learned(images, backbone)

    def test_more_components_than_patches(self, backbone):
        found = learned(parts(backbone, 6), backbone, components="40")
        assert found.tensors["component/0/centres"].shape[0] == 40
        assert all(np.isfinite(value).all() for value in found.tensors.values())


class TestVariants:
    def test_images_of_two_kinds_choose_their_own_experts(self, backbone):
        images = np.concatenate([parts(backbone, 12), parts(backbone, 12, "checks")])
        found = learned(images, backbone, experts="2", routing_at="image")
        model = METHOD.build_model(backbone, config(experts="2", routing_at="image"), found.tensors)
        with torch.inference_mode():
            seen = [model.gates_of(torch.from_numpy(half)) for half in (images[:12], images[12:])]
        first, second = ((gate > 0).float().mean(0) for gate in seen)
        assert ((first - second).abs() > 0.9).any(), "some expert is that of one kind alone"
        # The mean descriptor lies between the two and chooses those of one; half choose others.
        assert found.tensors["same_experts"].item() == 0.5 == model.same_experts_held_out()
        with torch.inference_mode():
            alike = model.same_experts(torch.from_numpy(images)).reshape(2, 12)
        assert sorted(alike.float().mean(1).tolist()) == [0, 1]

    def test_a_product_of_one_kind_agrees_with_itself(self, backbone):
        assert learned(parts(backbone, 8), backbone).tensors["same_experts"].item() == 1

    @pytest.mark.parametrize("levels", ["global", "patch,component", "component,global"])
    def test_levels_that_are_left_out_say_nothing(self, backbone, levels):
        images = torch.from_numpy(parts(backbone, 10))
        found = learned(images.numpy(), backbone, levels=levels)
        model, every = (
            METHOD.build_model(backbone, config(**own), tensors)
            for own, tensors in (
                ({"levels": levels}, found.tensors),
                ({}, learned(images.numpy(), backbone).tensors),
            )
        )
        asked = [LEVELS.index(level) for level in levels.split(",")]
        rest = [place for place in range(3) if place not in asked]
        gates = every.gates_of(images[:1])[0, asked]
        assert model.gates_of(images[:1])[0, asked].numpy() == pytest.approx(gates / gates.sum())
        kept = {name.split("/")[0] for name in found.tensors}
        assert kept.isdisjoint(LEVELS[one] for one in rest)
        with torch.inference_mode():
            said, maps = model.levels(images)
            others, _ = every.levels(images)
        assert not said[:, rest].any() and not maps[:, rest].any()
        torch.testing.assert_close(said[:, asked] * gates.sum(), others[:, asked])


class TestWords:
    def test_a_product_without_arrangement_is_learned_with_a_warning(self, tmp_path):
        stream = write_stream(tmp_path / "images", ("waves",))
        said: list[str] = []
        plan = TrainingPlan("anomaly_moe", LITE0, 64, OPTIONS, 0)
        train(stream, tmp_path / "out", plan, lambda name: quiet, said.append)
        assert not any("directions" in one for one in said), "12 parts are enough for 4"
        suitability = METHOD.suitability(read_artifact(tmp_path / "out" / "waves").tensors)
        (line,) = [one for one in said if "hardly suits" in one]
        assert line.startswith("waves: its expert for the whole explains")
        assert line.endswith("learn it with --method patch_memory")
        assert suitability.value < suitability.limit == 0.3

    def test_a_product_with_arrangement_is_learned_in_silence(self, backbone):
        """One pattern, brighter and darker: one direction explains nearly all of it."""
        rng = np.random.default_rng(5)
        pattern = texture("checks", rng).astype(np.float64)
        images = np.stack(
            [
                backbone.recipe.apply(np.clip(pattern * gain, 0, 255).astype(np.uint8))
                for gain in np.linspace(0.5, 1.2, 12)
            ]
        )
        assert METHOD.suitability(learned(images, backbone).tensors).suits


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"routing": "top_k", "top_k": "4"}, "more than the 3 experts"),
        ({"form": "attention"}, "not fitted"),
        ({"start": "drawn"}, "start=fitted"),
        ({"groups": "10,4"}, "ascending"),
        ({"groups": "4+x"}, "not a group of blocks"),
        ({"levels": "patch,whole"}, "'patch', 'component' or 'global'"),
        ({"levels": "patch,patch"}, "name one twice"),
        ({"levels": "patch", "routing": "top_k", "top_k": "2"}, "more than the 1 experts"),
        ({"expert": "2"}, "no such option"),
        ({"rank": "-1"}, "greater than or equal to 0"),
    ],
)
def test_options_that_do_not_fit(options, said):
    with pytest.raises(OptionError, match=said):
        config(**options)


def test_equal_seeds_give_equal_experts(backbone):
    images = parts(backbone, 8)
    first, second = (learned(images, backbone).tensors for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
