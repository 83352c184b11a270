"""Model versions of CDAD: each step's network serves the products of all steps before."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import Tensors, read_artifact, with_sharing_tasks
from cad_edge_training.backbones import Backbone, load_backbone
from cad_edge_training.methods import saved_config
from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.held_out import HELD_OUT
from cad_edge_training.methods.cdad.learn import build_model, recalibrate
from tests.training.small_cdad import (
    METHOD,
    SIDE,
    files_of,
    learn,
    learned_at,
    options,
)
from tests.training.small_products import LITE0, NAMES, steps_of, stream_of, write_stream

FIRST, SECOND, THIRD = NAMES


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("products")
    write_stream(folder)
    return folder


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(LITE0, SIDE)


@pytest.fixture(scope="module")
def line(products, tmp_path_factory) -> Path:
    """The first product, then the two others in one step."""
    out = tmp_path_factory.mktemp("line")
    assert learn(steps_of(products, (FIRST,), (SECOND, THIRD)), out) == list(NAMES)
    return out


def differing(one: Tensors, other: Tensors) -> set[str]:
    return {name for name, value in one.items() if not np.array_equal(value, other[name])}


class TestVersions:
    def test_the_last_of_a_step_has_the_network_and_the_others_its_number(self, line):
        first, second, third = (one.shared_weights for one in learned_at(line, *NAMES))
        assert set(second) == {"step"}
        steps = [one["step"].item() for one in (first, second, third)]
        assert steps == [1, 2, 2]
        assert set(first) == set(third) > {"noise", "size", "latent/matrix", "latent/bias"}
        for task in learned_at(line, *NAMES):
            assert set(task.tensors) == {"held_out", "explained", "free"}
            assert task.tensors["held_out"].dtype == np.float16
            assert task.tensors["held_out"].shape[1:] == (16, 4, 4)

    def test_a_later_step_takes_latents_and_noise_over_and_changes_weights(self, line):
        first, _, third = (one.shared_weights for one in learned_at(line, *NAMES))
        changed = differing(first, third) - {"step"}
        assert {name.split("/")[0] for name in changed} == {"network", "basis"}

    def test_only_weights_of_projected_layers_move_later(self, line):
        """Norms, biases and the embedding of time stay, and what moves is outside of the bases."""
        first, _, third = (one.shared_weights for one in learned_at(line, *NAMES))
        moved = {one for one in differing(first, third) if one.startswith("network/")}
        layers = {name.removesuffix(".weight") for name in moved}
        bases = LayerBases.from_tensors(first).by_name
        assert all(one.endswith(".weight") for one in moved)
        assert not any("norm" in one or ".time." in one for one in moved)
        for layer in layers:
            name = layer.removeprefix("network/")
            basis = bases[f"{name.removesuffix('key')}query" if name.endswith("key") else name]
            weights = (
                torch.from_numpy(one[f"{layer}.weight"]).flatten(1) for one in (third, first)
            )
            change = torch.sub(*weights)
            assert float((change @ basis).norm()) < 1e-4 * float(change.norm()) + 1e-6, layer
            assert float(change.abs().max()) > 1e-5

    def test_bases_grow(self, line):
        first, _, third = (
            LayerBases.from_tensors(one.shared_weights).by_name for one in learned_at(line, *NAMES)
        )
        assert first.keys() == third.keys()
        ranks = [[one[name].shape[1] for one in (first, third)] for name in first]
        assert all(old <= new for old, new in ranks) and any(old < new for old, new in ranks)
        for name, old in first.items():
            assert torch.equal(third[name][:, : old.shape[1]], old)

    def test_without_the_last_of_a_step_there_is_no_model(self, line, backbone):
        task = with_sharing_tasks(learned_at(line, FIRST, SECOND))[0]
        with pytest.raises(
            ArtifactError, match="one is missing; put the artifacts of all products"
        ):
            build_model(backbone, options(), task.model_tensors())

    def test_recalibration_is_what_the_newest_version_says(self, line, backbone):
        tasks = with_sharing_tasks(learned_at(line, *NAMES))
        config = saved_config(NAMES[0], METHOD, tasks[0].artifact.hyperparameters)
        for task in tasks[1:]:
            ours, theirs = recalibrate(backbone, config, task), task.artifact.calibration
            assert len(ours.scores) == 2
            for name in ("scores", "map_peaks", "map_quartiles"):
                assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-6)
        model = build_model(backbone, config, tasks[2].shared_weights)
        with torch.inference_mode():
            score, located = model.judge(model.form.kept(tasks[0].tensors[HELD_OUT]))
        found = recalibrate(backbone, config, tasks[0])
        assert found.scores == pytest.approx(sorted(score.tolist()), rel=1e-5)
        assert found.map_peaks == pytest.approx(sorted(located.amax((1, 2)).tolist()), rel=1e-5)
        assert found.scores != tasks[0].artifact.calibration.scores

    def test_the_witness_is_the_models_own_word(self, line, backbone):
        tasks = with_sharing_tasks(learned_at(line, *NAMES))
        model = build_model(backbone, options(), tasks[2].model_tensors())
        with torch.inference_mode():
            score, located = model(torch.from_numpy(tasks[2].witness["image"]))
        np.testing.assert_allclose(score.numpy(), tasks[2].witness["score"], rtol=1e-5)
        assert located.shape[1:] == (SIDE, SIDE)

    def test_equal_seeds_learn_equal_networks_whatever_the_test_images_are(
        self, products, line, tmp_path
    ):
        """Test images are broken here, and reading one would be refused."""
        folder = Path(shutil.copytree(products, tmp_path / "products"))
        for image in folder.glob("*/test/*/*.png"):
            image.write_bytes(b"no image")
        learn(steps_of(folder, (FIRST,), (SECOND, THIRD)), tmp_path / "out")
        for ours, theirs in zip(
            learned_at(line, *NAMES), learned_at(tmp_path / "out", *NAMES), strict=True
        ):
            assert differing(ours.shared_weights, theirs.shared_weights) == set()
            assert differing(ours.tensors, theirs.tensors) == set()

    def test_a_step_that_fails_leaves_the_version_before(
        self, products, line, tmp_path, monkeypatch
    ):
        shutil.copytree(line / FIRST, tmp_path / FIRST)
        before = files_of(tmp_path)

        def fail(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("cad_edge_training.methods.cdad.learn.protect", fail)
            with pytest.raises(KeyboardInterrupt):
                learn(stream_of(products, NAMES), tmp_path)
        assert files_of(tmp_path) == before
        assert learn(stream_of(products, (FIRST, SECOND)), tmp_path) == [SECOND]
        assert files_of(tmp_path).items() > before.items()

    def test_of_a_step_that_is_not_whole_nothing_stays(self, products, line, tmp_path):
        for name in (FIRST, SECOND):
            shutil.copytree(line / name, tmp_path / name)
        assert learn(steps_of(products, (FIRST,), (SECOND, THIRD)), tmp_path) == [SECOND, THIRD]
        ours, theirs = (read_artifact(one / THIRD).shared_weights for one in (line, tmp_path))
        assert differing(ours, theirs) == set()
