"""The measurement at full size, run at a tiny one; and its targets, worked by hand."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from cad_edge.store.artifact import list_artifacts, read_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_studies.cl_anomaly_full_size.__main__ import size_table, size_targets
from cad_edge_studies.cl_anomaly_full_size.build import pictures
from cad_edge_studies.cl_anomaly_full_size.comparison import compare, disk_growth
from cad_edge_studies.cl_anomaly_full_size.dimensions import Dimensions, build, bundle_of

TINY = Dimensions(
    side=28,
    vision_width=24,
    vision_layers=1,
    vision_heads=2,
    vision_inner=40,
    width=32,
    layers=1,
    heads=4,
    kv_heads=2,
    inner=48,
    vocabulary=600,
    tasks=2,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    build(folder, TINY)
    return folder


@pytest.fixture(scope="module")
def found(place):
    return compare(place, TINY, rounds=2, threads=1)


@pytest.mark.slow
def test_the_base_has_the_dimensions_asked_for(place):
    config = json.loads((place / "base" / "config.json").read_text())
    assert config["text_config"]["vocab_size"] == 600
    assert config["text_config"]["hidden_size"] == TINY.width
    assert config["vision_config"]["num_hidden_layers"] == 1
    assert config["vision_config"]["hidden_size"] == TINY.vision_width
    ids = json.loads((place / "prompt.json").read_text())["ids"]
    image = config["image_token_id"] if "image_token_id" in config else config["image_token_index"]
    assert ids.count(image) == (28 // 14) ** 2 + 1


@pytest.mark.slow
def test_tasks_are_drawn_and_none_of_their_weights_is_zero(place):
    tasks = [read_artifact(path) for path in list_artifacts(place / "artifacts")]
    assert [task.artifact.task for task in tasks] == list(TINY.names)
    for task in tasks:
        assert all(np.any(value) for name, value in task.tensors.items() if "lora_B" in name)
        assert task.evolves and len(task.routing["samples"]) == 64
    assert not np.array_equal(tasks[0].tensors["anchor"], tasks[1].tensors["anchor"])


@pytest.mark.slow
def test_what_is_there_is_not_made_again(place):
    files = {path: path.stat().st_mtime_ns for path in (place / "base").iterdir()}
    pointer = (bundle_of(place, "fp32") / "bundle.json").read_bytes()
    build(place, TINY)
    assert files == {path: path.stat().st_mtime_ns for path in (place / "base").iterdir()}
    assert (bundle_of(place, "fp32") / "bundle.json").read_bytes() == pointer


@pytest.mark.slow
def test_every_certificate_holds(place):
    manifest = Bundle(bundle_of(place, "fp32")).manifest()
    assert len(manifest.tasks) == TINY.tasks and manifest.version == 2
    for entry in manifest.tasks.values():
        assert entry.certificate.flips == 0 and entry.certificate.score_max <= 1e-4


@pytest.mark.slow
def test_both_sides_inspect_the_same_frames(found):
    rows = found["rows"]
    assert set(rows) >= {"transformers", "fp32"}
    for row in rows.values():
        assert sum(row["verdicts"].values()) == 4  # two rounds of two frames, none refused
        assert set(row["verdicts"]) <= {"normal", "anomalous"}
        assert row["peak"] >= row["memory"]["rss"] > row["memory"]["uss"] > 0
    assert rows["transformers"]["to_peer"]["following"]["median"] == 1.0


@pytest.mark.slow
def test_growth_on_the_disk_is_that_of_the_objects_in_force(place, found):
    bundle = Bundle(bundle_of(place, "fp32"))
    newest = bundle.manifest()
    versions = [bundle.manifest(newest.previous), newest]
    sizes = [
        sum(folder_bytes(bundle.object_folder(sha)) for sha in one.objects()) for one in versions
    ]
    grown = disk_growth(bundle.path)
    assert grown["in_force"] == pytest.approx(sizes[1] - sizes[0])
    assert found["growth"]["disk"]["in_force"] == grown["in_force"] < grown["written"]
    assert grown["manifest"] > 0


def test_pictures_are_of_one_product_and_vary():
    shown = [pictures(task, 64, 2, seed=3).astype(float) for task in range(10)]
    means = [one.mean(axis=(0, 1, 2)) for one in shown]
    assert min(np.abs(one - two).max() for one in means for two in means if one is not two) > 0.5
    assert min(np.abs(one[0] - one[1]).mean() for one in shown) > 2
    assert np.array_equal(pictures(4, 64, 2, seed=3), pictures(4, 64, 2, seed=3))


def a_result(**rows):
    def row(ratio, peak):
        middle = {"lower_quartile": ratio, "median": ratio, "upper_quartile": ratio}
        return {
            "following": {"p50": 1000 * ratio},
            "to_peer": {"following": middle},
            "peak": peak,
            "memory": {"uss": peak},
        }

    return {
        "rows": {name: row(*values) for name, values in rows.items()},
        "refused": {"uint8": "it is refused"},
        "growth": {"disk": {"in_force": 7.5e6}, "unique_memory": 8.5e6},
    }


def test_targets_and_what_was_not_measured():
    result = a_result(transformers=(1.0, 4e9), fp32=(0.9, 3.6e9))
    targets = size_targets(result)
    assert [target.value for target in targets] == [0.9, 0.9, None, None, 7.5, 8.5]
    assert [target.reached for target in targets] == [True, False, None, None, True, False]
    assert "uint8: it is refused" in size_table(result)
    rounded = size_targets(a_result(transformers=(1.0, 4e9), uint8=(0.4, 1e9)))
    assert [target.reached for target in rounded[:4]] == [None, None, True, True]
