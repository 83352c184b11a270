"""Learning a stream: what is written, what it depends on, and what is never looked at."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from cad_edge.data.image import decode_image
from cad_edge.routing import from_tensors
from cad_edge.store.artifact import list_artifacts, read_artifact
from cad_edge_training.backbones import load_backbone
from cad_edge_training.fingerprint import fingerprint
from cad_edge_training.methods.patch_memory.config import Config
from cad_edge_training.methods.patch_memory.learn import build_model
from tests.training.small_products import (
    LITE0,
    SMALL,
    learn,
    spoil,
    stream_of,
    texture,
    write_product,
    write_stream,
)

PAIR = ("stripes", "checks")


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    folder = tmp_path_factory.mktemp("products")
    write_stream(folder, PAIR)
    return folder


@pytest.fixture(scope="module")
def artifacts(products, tmp_path_factory):
    out = tmp_path_factory.mktemp("artifacts")
    assert learn(stream_of(products, PAIR), out, SMALL) == list(PAIR)
    return out


def bytes_of(folder):
    """Every file of an artifact but the seconds it took."""
    record = json.loads((folder / "artifact.json").read_bytes())
    record["provenance"].pop("seconds")
    record["sha256"].pop("artifact.json")  # which covers the seconds
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}
    return record, files


def test_artifacts_are_listed_in_stream_order(artifacts):
    assert [path.name for path in list_artifacts(artifacts)] == list(PAIR)
    assert sorted(path.name for path in artifacts.iterdir()) == sorted(PAIR)  # and nothing else


def test_artifact_says_what_it_was_learned_from(artifacts, products):
    task = read_artifact(artifacts / "checks")
    record = task.artifact
    assert (record.task, record.position, record.method) == ("checks", 1, "patch_memory")
    assert record.backbone == load_backbone(LITE0).identity
    assert (record.recipe.width, record.recipe.height) == (64, 64)
    assert record.false_reject_rate == 0.1
    config = Config.model_validate(record.hyperparameters)
    assert [memory.size for memory in config.memories] == [24, 24] and config.keys == 24
    assert record.provenance.images == 10 and record.provenance.seed == 0
    assert {"python", "torch", "numpy"} <= set(record.provenance.versions)
    paths = sorted((products / "checks/train/good").iterdir())
    images = np.stack([record.recipe.apply(decode_image(path)) for path in paths])
    assert record.provenance.data_sha256 == fingerprint(images) == fingerprint(images[::-1])


def test_tensors_are_those_of_the_configuration(artifacts):
    tensors = read_artifact(artifacts / "stripes").tensors
    assert tensors["memory/7+10"].shape == (24, 192)  # blocks 7 and 10: 80 + 112 channels
    assert tensors["memory/4"].shape == (24, 40)
    assert tensors["statistics/mean"].shape == (384,)  # blocks 7 and 10, mean and deviation
    assert not any(name.startswith(("prompt/", "text/")) for name in tensors)
    assert all(value.dtype == np.float32 for value in tensors.values())
    assert all(np.isfinite(value).all() for value in tensors.values())


def test_calibration_scores_every_image_once_by_folds(artifacts):
    calibration = read_artifact(artifacts / "stripes").artifact.calibration
    assert (calibration.scheme, calibration.folds) == ("cross", 5)
    for values in (calibration.scores, calibration.map_peaks):
        assert len(values) == 10 and values == sorted(values)
        assert np.isfinite(values).all()


def test_routing_statistics_are_of_all_images(artifacts):
    statistics = from_tensors(read_artifact(artifacts / "stripes").routing)
    assert statistics.count == 10 and statistics.samples.shape == (10, 128)
    assert statistics.key_distances.shape == (10,)
    np.testing.assert_allclose(statistics.samples.mean(axis=0), statistics.mean, rtol=1e-4)


def test_witness_is_what_the_reference_model_says(artifacts):
    task = read_artifact(artifacts / "stripes")
    assert task.witness["image"].shape == (8, 64, 64, 3) and task.witness["score"].shape == (8,)
    config = Config.model_validate(task.artifact.hyperparameters)
    model = build_model(load_backbone(LITE0, 64), config, task.tensors)
    with torch.inference_mode():
        score, anomaly_map = model(torch.from_numpy(task.witness["image"]))
    np.testing.assert_allclose(score.numpy(), task.witness["score"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(anomaly_map.numpy(), task.witness["anomaly_map"], atol=1e-4)


def test_a_blot_scores_higher_than_good_parts_and_is_found(artifacts, rng):
    task = read_artifact(artifacts / "stripes")
    config = Config.model_validate(task.artifact.hyperparameters)
    model = build_model(load_backbone(LITE0, 64), config, task.tensors)
    good = [texture("stripes", rng) for _ in range(4)]
    images = [task.artifact.recipe.apply(one) for one in [*good, *map(spoil, good)]]
    with torch.inference_mode():
        score, anomaly_map = model(torch.from_numpy(np.stack(images)))
    assert score[4:].min() > score[:4].max()
    for one in anomaly_map[4:]:
        row, column = divmod(int(one.argmax()), 64)
        assert 20 <= row <= 42 and 22 <= column <= 45  # the blot, and a patch around it


def test_equal_seeds_give_equal_bytes(artifacts, products, tmp_path):
    learn(stream_of(products, PAIR), tmp_path, SMALL)
    for name in PAIR:
        assert bytes_of(tmp_path / name) == bytes_of(artifacts / name)


def test_other_seed_gives_another_memory_and_the_same_routing(artifacts, products, tmp_path):
    learn(stream_of(products, ("stripes",)), tmp_path, SMALL, seed=1)
    ours, other = read_artifact(artifacts / "stripes"), read_artifact(tmp_path / "stripes")
    assert not np.array_equal(ours.tensors["memory/7+10"], other.tensors["memory/7+10"])
    for name in ("count", "mean", "scatter"):
        assert ours.routing[name].tobytes() == other.routing[name].tobytes()


def test_tasks_that_are_there_are_not_learned_again(artifacts, products, tmp_path):
    """Resumed after an interruption, a run ends with the artifacts of an uninterrupted one."""
    assert learn(stream_of(products, PAIR[:1]), tmp_path, SMALL) == ["stripes"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "stripes").iterdir()}
    assert learn(stream_of(products, PAIR), tmp_path, SMALL) == ["checks"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "stripes").iterdir()} == before
    assert bytes_of(tmp_path / "checks") == bytes_of(artifacts / "checks")
    assert learn(stream_of(products, PAIR), tmp_path, SMALL) == []


def test_test_images_and_masks_are_never_opened(artifacts, products, tmp_path):
    shutil.copytree(products / "stripes", tmp_path / "stripes")
    for path in (tmp_path / "stripes/test").rglob("*.png"):
        path.write_bytes(b"no image at all")
    masks = tmp_path / "stripes/ground_truth/blot"
    masks.mkdir(parents=True)
    (masks / "000.png").write_bytes(b"nor a mask")
    learn(stream_of(tmp_path, ("stripes",)), tmp_path / "out", SMALL)
    assert bytes_of(tmp_path / "out/stripes") == bytes_of(artifacts / "stripes")


def test_images_beyond_png_and_of_other_sizes_are_learned(tmp_path, rng):
    folder = write_product(tmp_path, "waves", good=6) / "train/good"
    first = decode_image(folder / "000.png")
    Image.fromarray(first).resize((300, 200)).save(folder / "large.jpg")
    Image.fromarray(first[..., 0]).save(folder / "grey.bmp")
    learn(stream_of(tmp_path, ("waves",)), tmp_path / "out", SMALL)
    assert read_artifact(tmp_path / "out/waves").artifact.provenance.images == 8
