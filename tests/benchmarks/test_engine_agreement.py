"""Engines beside torch: by hand where differences are counted, and on small parts with depth."""

import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from cad_edge_benchmarks.instruments.agreement import (
    Agreement,
    Answers,
    agreement,
    compare,
)
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_studies.engine_agreement.__main__ import joined, main
from cad_edge_training.train import TrainingPlan, train
from tests.training.rgbd_products import quick_plan, rgbd_stream
from tests.training.small_products import quiet

GOOD = np.array([True, True, False])


def answers(scores: list[float], level: float = 0.0) -> Answers:
    maps = np.zeros((3, 2, 2), np.float32)
    maps[1] = 4
    return Answers(np.array(scores), maps + np.float32(level))


def test_differences_are_fractions_of_the_range_of_good_parts():
    expected = answers([1.0, 3.0, 9.0])
    found = compare(answers([1.0, 3.5, 9.0], level=0.5), expected, GOOD, threshold=3.2)
    # 0.5 of 3 - 1, 0.5 of 4 - 0, and 3.5 lies on the other side of 3.2.
    assert found == Agreement(images=3, score_max=0.25, map_max=0.125, flips=1)


def test_a_method_without_maps_is_compared_by_scores():
    plain = Answers(np.array([1.0, 3.0, 9.0]), None)
    assert compare(plain, plain, GOOD, 3.2) == Agreement(3, 0.0, None, 0)


def test_levels_are_compared_by_the_range_of_all_of_them():
    scores, levels = np.array([1.0, 3.0, 9.0]), np.array([[0.0, 2.0], [1.0, -2.0], [9.0, 9.0]])
    expected = Answers(scores, None, levels)
    # .5 of 2 - (-2); where one side tells no levels apart, nothing is compared.
    found = compare(Answers(scores, None, levels - [0.5, 0.0]), expected, GOOD, 3.2)
    assert found.levels_max == 0.125
    assert compare(Answers(scores, None), expected, GOOD, 3.2).levels_max is None
    parts = [Agreement(3, 0.1, None, 0, 0.2), Agreement(2, 0.2, None, 1)]
    assert joined(parts).levels_max == 0.2


def test_images_that_choose_as_their_product_are_counted():
    scores = np.array([1.0, 3.0, 9.0])
    expected = Answers(scores, None, same_experts=np.array([True, False, False]))
    found = compare(Answers(scores, None), expected, GOOD, 3.2)
    assert found.same_experts == pytest.approx(1 / 3)
    parts = [found, Agreement(1, 0.0, None, 0, same_experts=1.0), Agreement(5, 0.0, None, 0)]
    assert joined(parts).same_experts == 0.5, "two of four; the others choose nothing"


def test_tasks_are_joined_by_the_worst():
    found = joined([Agreement(3, 0.1, 0.4, 0), Agreement(2, 0.2, None, 1)])
    assert found == Agreement(5, 0.2, 0.4, 1)
    assert joined([Agreement(2, 0.2, None, 1)]).map_max is None


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A folder with artifacts of two small products with depth, and their stream."""
    place = tmp_path_factory.mktemp("engines")
    stream = rgbd_stream(place / "line", (("gear", "bolt"),))
    train(stream, place / "artifacts", quick_plan(), lambda name: quiet)
    return place, stream


def test_a_bundle_agrees_with_torch_on_all_test_parts_and_another_one_does_not(line, tmp_path):
    place, stream = line
    learned = [place / "artifacts" / task.name for task in stream.tasks]
    export_artifacts(learned, tmp_path / "bundle", ExportPlan(), quiet)
    found = agreement(tmp_path / "bundle", place / "artifacts", stream)
    for task in stream.tasks:
        assert found[task.name].images == len(task.images().test)
        assert 0 < found[task.name].score_max < 1e-4 and 0 < found[task.name].map_max < 1e-4
        assert found[task.name].flips == 0
    train(stream, tmp_path / "others", quick_plan(seed=1), lambda name: quiet)
    other = joined(list(agreement(tmp_path / "bundle", tmp_path / "others", stream).values()))
    assert other.score_max > 1e-2


@pytest.mark.slow
def test_the_command_says_what_it_found(line, tmp_path):
    """Of a method without depth, on parts that have some."""
    place, stream = line
    options = {"memories": "1+2x16", "keys": "8"}
    plan = TrainingPlan("patch_memory", "efficientnet-lite0", 64, options, 0)
    train(stream, tmp_path / "artifacts", plan, lambda name: quiet)
    said = {"name": "small", "false_reject_rate": 0.3, "tasks": []}
    for task in stream.tasks:
        said["tasks"].append({"name": task.name, "path": task.name, "layout": "rgbd"})
    file = tmp_path / "stream.yaml"
    file.write_text(yaml.safe_dump(said))
    words = [str(file), str(tmp_path / "artifacts"), "--data", str(place / "line")]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    assert [one.split()[0] for one in done.output.splitlines()[1:4]] == ["gear", "bolt", "all"]
    assert json.loads((tmp_path / "out.json").read_text())["tasks"]["all"]["flips"] == 0
    missing = CliRunner().invoke(main, [str(file), str(tmp_path / "none"), *words[2:]])
    assert missing.exit_code == 1 and "Error: " in missing.output
