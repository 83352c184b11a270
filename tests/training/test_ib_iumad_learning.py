"""IB-IUMAD's regulariser by hand, and steps that are learned, refused and taken up again."""

import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cad_edge.data.image import decode_image
from cad_edge.errors import DatasetError, ImageError, OptionError
from cad_edge.store.artifact import read_artifact, with_sharing_tasks
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.frozen import FrozenFeatures, look, stage_ends
from cad_edge_training.methods.ib_iumad.held_out import kept, to_keep
from cad_edge_training.methods.ib_iumad.learn import build_model, is_whole, recalibrate
from cad_edge_training.methods.ib_iumad.model import residuals, standardised
from cad_edge_training.methods.ib_iumad.network import Network
from cad_edge_training.methods.ib_iumad.regulariser import (
    DampedUpdates,
    basis,
    collect_bases,
    damping_weights,
    feed_forwards,
    small_singular_values,
)
from cad_edge_training.methods.ib_iumad.whitening import distances
from cad_edge_training.train import train
from tests.training.rgbd_products import NAMES, PARTS, SIDE, quick_plan, rgbd_stream
from tests.training.small_products import quiet

KEPT = ("rgb", "depth", "measured")
SMALL = Config(width=16, layers=2, heads=2, inner=24, states=2, dropout=0.0)


def learn(stream, out: Path, options=None) -> list[str]:
    return train(stream, out, quick_plan(options), lambda name: quiet)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return folder, rgbd_stream(folder, train=PARTS)


@pytest.fixture(scope="module")
def artifacts(parts, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("learned")
    assert learn(parts[1], out) == list(NAMES)
    return out


@pytest.fixture(scope="module")
def network() -> Network:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Network(SMALL, 6, 4, 2)


def test_small_singular_values_by_hand():
    """Of diag(9.9, 0.1) over 2 columns: 0.01 of the sum is below 0.1 / 2, 0.99 is not."""
    pooled = torch.tensor([[9.9, 0.0], [0.0, 0.1], [0.0, 0.0]])
    assert small_singular_values(pooled).item() == pytest.approx(0.01, rel=1e-5)
    assert small_singular_values(torch.eye(2)).item() == 0


def test_damping_weights_by_hand():
    found = damping_weights(4)
    expected = [0.0, math.log(2) / math.log(4), math.log(3) / math.log(4), 1.0]
    assert found.tolist() == pytest.approx(expected)


def test_basis_sorts_directions_and_completes_them():
    rows = np.array([[0.0, 3.0, 0.0], [0.0, 3.0, 0.0], [2.0, 0.0, 0.0]], np.float32)
    found = basis(rows)
    np.testing.assert_allclose(np.abs(found[0]), [0, math.sqrt(18), 0], atol=1e-6)
    np.testing.assert_allclose(np.abs(found[1]), [2, 0, 0], atol=1e-6)
    unit = found / np.linalg.norm(found.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(unit @ unit.T, np.eye(3), atol=1e-6)


def test_basis_of_a_basis_stands_for_its_images():
    """Directions of old and new images together, with and without the old ones at hand."""
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(7, 4)), rng.normal(size=(5, 4))
    together = basis(np.concatenate([old, new]).astype(np.float32))
    stacked = basis(np.concatenate([basis(old.astype(np.float32)), new]).astype(np.float32))
    signs = np.sign((together * stacked).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(stacked * signs, together, atol=1e-4)


def test_bases_are_of_mean_feed_forward_outputs(network):
    tokens = {name: torch.randn(5, 4, 6) for name in SMALL.modalities}
    found = collect_bases(network, FrozenFeatures(tokens, None), {}, 2)
    assert set(found) == {name for name, _ in feed_forwards(network)} and len(found) == 8
    outputs = []
    part = dict(feed_forwards(network))["rgb.encoder.0.feed_forward"]
    hook = part.register_forward_hook(lambda _, __, out: outputs.append(out.mean(dim=1)))
    with torch.inference_mode():
        network(tokens, tokens)
    hook.remove()
    expected = basis(outputs[0].numpy())
    got = found["rgb.encoder.0.feed_forward"]
    np.testing.assert_allclose(np.abs(got[:5]), np.abs(expected[:5]), atol=1e-4)


@pytest.fixture
def learner(network):
    """Network of its own, to change."""
    copy = Network(SMALL, 6, 4, 2)
    copy.load_state_dict(network.state_dict())
    return copy


def test_damped_update_loses_the_strongest_direction(learner):
    """Of gradient descent W - r V diag(w) V^T g, with w_0 = 0 and the last w = 1."""
    name, part = next(feed_forwards(learner))
    rows = basis(np.random.default_rng(1).normal(size=(20, 16)).astype(np.float32))
    damped = DampedUpdates(learner, {name: rows}, 0.0)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        gradient = torch.randn(16, 24)
    part.down.weight.grad, part.down.bias.grad = gradient.clone(), gradient[:, 0].clone()
    before = part.down.weight.detach().clone(), part.down.bias.detach().clone()
    damped.before_update()
    torch.optim.SGD(part.down.parameters(), lr=0.5).step()
    damped.after_update()
    moved = (part.down.weight.detach() - before[0]).numpy()
    vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = -0.5 * (vectors @ gradient.numpy()) * damping_weights(16).numpy()[:, None]
    np.testing.assert_allclose(vectors @ moved, expected, atol=1e-5)
    np.testing.assert_allclose((vectors @ moved)[0], 0, atol=1e-5)
    of_bias = (part.down.bias.detach() - before[1]).numpy()
    np.testing.assert_allclose(of_bias, moved[:, 0], atol=1e-5)


def test_weights_are_pulled_and_heads_are_not(network, learner):
    damped = DampedUpdates(learner, {}, 0.25)
    damped.before_update()
    with torch.no_grad():
        for value in learner.parameters():
            value += 1
    damped.after_update()
    for (name, value), old in zip(learner.named_parameters(), network.parameters(), strict=True):
        expected = old + (1 if name.startswith("heads.") else 0.75)
        torch.testing.assert_close(value, expected)


def test_last_of_a_step_holds_the_network(artifacts):
    whole = {name: is_whole(read_artifact(artifacts / name).shared_weights) for name in NAMES}
    assert whole == {"gear": False, "bolt": True, "loaf": True, "cap": True}
    steps = [int(read_artifact(artifacts / name).shared_weights["step"].item()) for name in NAMES]
    assert steps == [1, 1, 2, 3]


def test_model_versions_differ_and_scaling_stays(artifacts):
    first, last = (read_artifact(artifacts / name).shared_weights for name in ("bolt", "cap"))
    weight = "network/restore.up.weight"
    assert not np.array_equal(first[weight], last[weight])
    assert np.array_equal(first["mean/depth"], last["mean/depth"])
    assert [len(one["network/heads.fused.weight"]) for one in (first, last)] == [2, 4]


def test_artifact_keeps_features_and_no_pixels(artifacts):
    task = read_artifact(artifacts / "gear")
    held = {name: value for name, value in task.tensors.items() if name != "depth_range"}
    seen = {f"{of}/{name}" for of in ("held_out", "learned") for name in KEPT}
    assert set(held) == seen | {"held_out/group", "whitened"}
    assert all(held[name].dtype == np.float16 for name in seen)
    count = len(task.artifact.calibration.scores)
    assert held["held_out/rgb"].shape == (count, 16, 192) and count <= 32
    assert held["learned/rgb"].shape == (PARTS - count, 16, 192)
    assert held["held_out/group"].tolist() == list(range(PARTS))
    assert task.witness["depth"].shape == task.witness["image"].shape[:3]


def test_calibration_is_what_the_model_says_of_held_out_parts(artifacts):
    tasks = with_sharing_tasks([read_artifact(artifacts / name) for name in NAMES])
    backbone = load_backbone("efficientnet-lite0", SIDE)
    newest = tasks[-1]
    config = Config.model_validate(newest.artifact.hyperparameters)
    assert recalibrate(backbone, config, newest) == newest.artifact.calibration
    model = build_model(backbone, config, tasks[0].model_tensors())
    parts = kept(tasks[0].tensors)
    with torch.inference_mode():
        score, anomaly_map = model.scored(model.held_out_distances(parts))
        own = residuals(config, model.network, standardised(parts.seen, model.scaling))
        fitted, _ = model.scored(distances(own.rows(torch.arange(parts.held_out)), model.whitening))
    # Judged by a whitening that was fitted to them, they would look better than they are.
    assert (fitted < score).all()
    found = recalibrate(backbone, config, tasks[0])
    assert found.scores == pytest.approx(sorted(score.tolist()), rel=1e-5)
    assert found.map_peaks == pytest.approx(sorted(anomaly_map.amax((1, 2)).tolist()), rel=1e-5)


def test_depth_features_differ_from_those_of_the_image(parts):
    """Guards against the released code's slip, which takes both from the image."""
    folder, _ = parts
    backbone = load_backbone("efficientnet-lite0", SIDE)
    image = decode_image(next(iter(sorted((folder / "gear/train/good/rgb").glob("*.png")))))
    depth = torch.full((1, SIDE, SIDE), 500.0)
    depth[:, 20:40] = 495.0
    both = Config()
    given = torch.from_numpy(image)[None], torch.tensor([490.0, 501.0])
    seen = look(backbone, both, given[0], depth, given[1])
    assert not torch.allclose(seen.tokens["rgb"], seen.tokens["depth"], atol=0.1)
    moved = look(backbone, both, given[0], depth - 1, given[1])
    assert torch.equal(moved.tokens["rgb"], seen.tokens["rgb"])
    assert not torch.equal(moved.tokens["depth"], seen.tokens["depth"])
    assert seen.tokens["rgb"].shape == (1, 16, 192)


def test_what_is_kept_comes_back():
    seen = FrozenFeatures({"rgb": torch.tensor([[[1e6, -0.5]]])}, torch.tensor([[0.25]]))
    other = FrozenFeatures({"rgb": torch.tensor([[[1.0, 2.0]]])}, torch.tensor([[1.0]]))
    found = kept(to_keep(seen, other, (4, 7)))
    assert found.seen.tokens["rgb"].tolist() == [[[65504.0, -0.5]], [[1.0, 2.0]]]
    assert found.seen.measured.tolist() == [[0.25], [1.0]]
    assert (found.groups, found.held_out) == ((4, 7), 1)


def test_equal_seeds_learn_equal_networks(parts, artifacts, tmp_path):
    learn(parts[1], tmp_path)
    for name in ("bolt", "loaf"):
        one, other = (
            read_artifact(folder / name).shared_weights for folder in (artifacts, tmp_path)
        )
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)


def test_interrupted_step_is_learned_again(parts, artifacts, tmp_path):
    """Of a step whose last artifact is missing nothing stays, and what was before is in force."""
    out = Path(shutil.copytree(artifacts, tmp_path / "out"))
    for name in ("bolt", "loaf", "cap"):
        shutil.rmtree(out / name)
    assert learn(parts[1], out) == list(NAMES)
    one, other = (read_artifact(folder / "bolt").shared_weights for folder in (artifacts, out))
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_failing_increment_leaves_the_model_version_before(parts, artifacts, tmp_path, monkeypatch):
    out = Path(shutil.copytree(artifacts, tmp_path / "out"))
    shutil.rmtree(out / "cap")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def fail(*_):
        raise KeyboardInterrupt

    place = "cad_edge_training.methods.ib_iumad.learn.train_further"
    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises(KeyboardInterrupt):
            learn(parts[1], out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert learn(parts[1], out) == ["cap"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": "3"}, "heads 3 do not divide width 16"),
        ({"fusion": "sum"}, "fusion"),
        ({"jitter": "7"}, "was learned with jitter=5.0 and not 7.0, .* give the same"),
    ],
)
def test_options_that_do_not_fit(parts, artifacts, tmp_path, options, words):
    out = Path(shutil.copytree(artifacts, tmp_path / "out"))
    shutil.rmtree(out / "cap")
    with pytest.raises(OptionError, match=words):
        learn(parts[1], out, options)
    assert not (out / "cap").exists()


def test_products_without_depth_are_refused(parts, tmp_path):
    stream = parts[1]
    images = stream.tasks[0].path / "train/good/rgb"
    task = stream.tasks[0].model_copy(update={"layout": "folder", "path": images})
    plain = stream.model_copy(update={"tasks": [task], "steps": []})
    with pytest.raises(DatasetError, match="gear has none; give it a layout with depth"):
        learn(plain, tmp_path)
    assert learn(plain, tmp_path, {"modality": "rgb"}) == ["gear"]


def spoiled(parts, tmp_path, change) -> object:
    """The stream with one depth file of the first product changed."""
    folder = Path(shutil.copytree(parts[0], tmp_path / "parts"))
    file = folder / "gear/train/good/depth/003.png"
    Image.fromarray(change(np.asarray(Image.open(file)))).save(file)
    task = parts[1].tasks[0].model_copy(update={"path": folder / "gear"})
    return parts[1].model_copy(update={"tasks": [task], "steps": []})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plane: plane[:50], "64x50 px but its image"),
        (np.zeros_like, "holds no measurement"),
    ],
)
def test_depth_that_cannot_be_learned_from(parts, tmp_path, change, words):
    with pytest.raises(ImageError, match=words) as problem:
        learn(spoiled(parts, tmp_path, change), tmp_path / "out")
    assert "003.png" in str(problem.value)


def test_backbone_without_stages_is_refused():
    backbone = load_backbone("efficientnet-lite0", 72)
    with pytest.raises(OptionError, match="multiple of 16"):
        stage_ends(backbone)
    plain = SimpleNamespace(identity=SimpleNamespace(id="dinov2:x"))
    with pytest.raises(OptionError, match="stages of an EfficientNet"):
        stage_ends(plain)
