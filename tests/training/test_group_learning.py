"""Groups on their way from the stream file into artifacts, with every way to hold images out."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from cad_edge.calibration import decide
from cad_edge.data.grouping import GroupRule
from cad_edge.errors import DatasetError
from cad_edge.store.artifact import read_artifact, read_record, with_sharing_tasks
from cad_edge_training.backbones import load_backbone
from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.division import divide
from cad_edge_training.methods.cl_anomaly import learn as cl_anomaly
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.ib_iumad import learn as ib_iumad
from cad_edge_training.train import train
from tests.training.cl_anomaly_samples import QUICK, a_request, as_task
from tests.training.rgbd_products import SIDE, quick_plan, rgbd_stream
from tests.training.small_products import SMALL, learn, quiet, write_stream
from tests.training.tiny_llava import save_tiny_llava


def with_groups(stream, **rules: GroupRule):
    """The stream, some of whose tasks say what belongs together."""
    tasks = [task.model_copy(update={"group": rules.get(task.name)}) for task in stream.tasks]
    return stream.model_copy(update={"tasks": tasks})


def test_folds_and_calibration_count_groups(tmp_path):
    """Ten images in three groups: three folds, and a rate of 0.1 that needs nine groups."""
    with (tmp_path / "groups.csv").open("w", newline="") as file:
        lines = [(f"train/good/{number:03d}.png", number // 4) for number in range(10)]
        csv.writer(file).writerows([("file", "group"), *lines])
    rule = GroupRule(table=tmp_path / "groups.csv")
    stream = with_groups(write_stream(tmp_path, ("checks", "waves")), checks=rule)
    assert learn(stream, tmp_path / "out", SMALL) == ["checks", "waves"]
    grouped = read_record(tmp_path / "out/checks").calibration
    assert (grouped.scheme, grouped.folds, grouped.groups) == ("cross", 3, 3)
    assert len(grouped.scores) == 10 and not decide(grouped, 0.1).supported
    alone = read_record(tmp_path / "out/waves").calibration
    assert (alone.folds, alone.groups) == (5, None) and decide(alone, 0.1).supported
    assert b'"groups"' not in (tmp_path / "out/waves/artifact.json").read_bytes()
    routing = read_artifact(tmp_path / "out/checks").routing
    assert routing["group_counts"].tolist() == [4] * 8 + [2] * 2
    means = routing["samples"].astype(np.float64)[:8].reshape(2, 4, -1).mean(1)
    np.testing.assert_allclose(routing["group_means"][[0, 4]], means, rtol=1e-5, atol=1e-6)
    assert "group_means" not in read_artifact(tmp_path / "out/waves").routing


def test_a_rule_that_tells_nothing_is_refused_before_the_first_task(tmp_path):
    stream = write_stream(tmp_path, ("checks", "waves"))
    wrong = with_groups(stream, waves=GroupRule(pattern="batch"))
    with pytest.raises(DatasetError, match="task waves: the pattern 'batch' of `group` matches no"):
        learn(wrong, tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_tasks_that_are_learned_need_their_groups_no_more(tmp_path):
    stream = write_stream(tmp_path, ("checks",))
    rule = GroupRule(pattern=r"\d\.png")
    assert learn(with_groups(stream, checks=rule), tmp_path / "out", SMALL) == ["checks"]
    rule = GroupRule(pattern="batch")
    assert learn(with_groups(stream, checks=rule), tmp_path / "out", SMALL) == []


def test_a_network_of_all_products_holds_groups_out(tmp_path):
    """Eight parts with depth in four groups, listed with a star for the plane."""
    stream = rgbd_stream(tmp_path, (("gear", "bolt"),))
    with (tmp_path / "groups.csv").open("w", newline="") as file:
        lines = [(f"train/good/*/{number:03d}.png", number // 2) for number in range(8)]
        csv.writer(file).writerows([("file", "group"), *lines])
    stream = with_groups(stream, gear=GroupRule(table=tmp_path / "groups.csv"))
    train(stream, tmp_path / "out", quick_plan(), lambda name: quiet)
    tasks = with_sharing_tasks(
        [read_artifact(tmp_path / "out" / name) for name in ("gear", "bolt")]
    )
    gear, bolt = (task.artifact for task in tasks)
    assert (gear.calibration.groups, len(gear.calibration.scores)) == (1, 2)
    assert bolt.calibration.groups is None
    backbone = load_backbone("efficientnet-lite0", SIDE)
    config = ib_iumad.Config.model_validate(gear.hyperparameters)
    assert ib_iumad.recalibrate(backbone, config, tasks[0]) == gear.calibration


def test_a_language_model_holds_groups_out(tmp_path):
    base = load_llava(str(save_tiny_llava(tmp_path / "tiny-llava")))
    config = Config(**QUICK)
    groups = tuple(f"batch {number // 3}" for number in range(15))
    request = replace(a_request(base, tmp_path), groups=groups)
    learned = cl_anomaly.learn(request, config)
    division = divide(15, request.rate, request.seed, "red", groups)
    assert learned.calibration.groups == division.groups == 1
    kept = cl_anomaly.tokens_to_keep(base, request.images[division.held_out])
    np.testing.assert_array_equal(learned.tensors["held_out/tokens"], kept)
    task = as_task(request, config, learned)
    assert cl_anomaly.recalibrate(base, config, task) == learned.calibration
