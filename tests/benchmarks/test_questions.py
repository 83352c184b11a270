"""Figures of the comparison of learners of questions, worked by hand; and its stream."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from cad_edge.data.dataset import read_product
from cad_edge.data.labelled import LabelledSplit
from cad_edge.data.stream import StreamTask
from cad_edge.errors import OptionError
from cad_edge_studies.cl_anomaly_comparison.figures import Run, answers, figures_of
from cad_edge_studies.cl_anomaly_comparison.learners import Learner, Setting, run_learner
from cad_edge_studies.cl_anomaly_comparison.report import (
    comparison_table,
    question_targets,
    summary,
)
from cad_edge_studies.cl_anomaly_comparison.task_sequence import (
    hold_back,
    joint_task,
    orders,
    tasks_of,
)

TRUTH = {"a": np.array([True, True, False, False]), "b": np.array([True, False])}


def scores(*values):
    return np.array(values, np.float32)


def test_answers_are_the_sign_of_the_score():
    found = answers(scores(2, -1, 1, -3), TRUTH["a"])
    # Yes, No, Yes, No for two defects and two good parts: one hit, one miss, one false alarm
    assert found == {"accuracy": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "auroc": 0.75}


def test_what_no_answer_defines_is_undefined():
    found = answers(scores(-1, -2), np.array([False, False]))
    assert found == {"accuracy": 1.0, "precision": None, "recall": None, "f1": None, "auroc": None}


def test_avg_last_and_bwt_of_a_run():
    run = Run(
        ("a", "b"),
        (
            {"a": scores(1, 1, -1, -1)},  # 1.0
            {"a": scores(1, -1, -1, 1), "b": scores(1, -1)},  # 0.5 and 1.0
        ),
        12.0,
    )
    found = figures_of(run, TRUTH)
    assert (found["last"], found["avg"], found["bwt"]) == (0.75, 0.875, -0.5)
    assert found["f1"] == pytest.approx((0.5 + 1) / 2)


def test_learning_at_once_has_one_stage_and_no_transfer():
    run = Run(("a", "b"), ({"a": scores(1, 1, -1, -1), "b": scores(1, -1)},), 1.0)
    found = figures_of(run, TRUTH)
    assert (found["last"], found["avg"], found["bwt"]) == (1.0, 1.0, None)


def a_summary(**learners):
    """Runs with (last, bwt) of each order."""
    blank = dict.fromkeys(("avg", "precision", "recall", "f1", "auroc"))
    return summary(
        {
            name.replace("_", "-").replace("0", " "): [
                (Run(("a",), ({},), 1.0), {**blank, "last": last, "bwt": bwt})
                for last, bwt in pairs
            ]
            for name, pairs in learners.items()
        }
    )


def test_means_deviations_and_targets():
    found = a_summary(
        CL_Anomaly=[(0.9, -0.01), (0.8, -0.02)],
        sequential0LoRA=[(0.7, -0.2), (0.8, -0.1)],
        MoE_LoRA=[(0.8, -0.1), (0.8, -0.1)],
    )
    assert found["CL-Anomaly"]["mean"]["last"] == pytest.approx(0.85)
    assert found["CL-Anomaly"]["deviation"]["last"] == pytest.approx(0.0707, abs=1e-4)
    assert "| CL-Anomaly | 85.0 ± 7.1 | - | -1.5 ± 0.7 |" in comparison_table(found)
    values = [target.value for target in question_targets(found)]
    assert values == pytest.approx([10.0, -1.5, 8.5])
    assert all(target.reached for target in question_targets(found))


def test_a_learner_that_was_not_run_leaves_its_targets_open():
    targets = question_targets(a_summary(CL_Anomaly=[(0.9, -0.01)]))
    assert [target.reached for target in targets] == [None, True, None]


def test_orders_differ_and_hold_every_task():
    found = orders(("a", "b", "c"), 4, 0)
    assert found[0] == ("a", "b", "c") and len(set(found)) == 4
    assert all(sorted(order) == ["a", "b", "c"] for order in found)
    assert orders(("a", "b", "c"), 4, 0) == found


@pytest.fixture
def products(tmp_path):
    for name in ("nut", "lid"):
        for kind, count in (("train/good", 8), ("test/good", 2), ("test/cut", 5)):
            folder = tmp_path / name / kind
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (16, 16)).save(folder / f"{number}.png")
    return {
        name: StreamTask(name=name, path=tmp_path / name, labelled=LabelledSplit())
        for name in ("nut", "lid")
    }


def test_all_at_once_learns_from_what_the_tasks_learn_from_and_nothing_else(products, tmp_path):
    tasks = list(products.values())
    joint = joint_task(tasks, tmp_path / "joint")
    pooled, single = read_product(joint.path, joint.layout), [task.images() for task in tasks]
    assert sorted(pooled.train) == sorted(path for one in single for path in one.train)
    assert {item.path for item in pooled.defective} == {
        item.path for one in single for item in one.defective
    }
    assert len(json.loads((joint.path / "train.json").read_text())) == 24


def test_what_is_held_back_is_dealt_from_training_images_alone(products, tmp_path):
    left, held = hold_back(products, tmp_path / "left", 0)
    for name, task in products.items():
        whole, learned = task.images(), left[name].images()
        rest = {*learned.train, *(item.path for item in learned.defective)}
        back = {item.path for item in held[name]}
        assert not rest & back and len(back) == 2
        assert rest | back == {*whole.train, *(item.path for item in whole.defective)}


def test_what_was_learned_with_other_options_is_not_taken_for_this(products, tmp_path):
    learner = Learner("plain", {"variant": "moe"}, {"learning_rate": "5e-4"})
    folder = tmp_path / "work" / "plain" / "nut-lid"
    folder.mkdir(parents=True)
    kept = {"seconds": 1.0, "options": {"learning_rate": "5e-4", "variant": "moe"}}
    (folder / "said.json").write_text(json.dumps({**kept, "stages": [{"nut": [0.5]}]}))

    def run(**options):
        setting = Setting(tmp_path / "work", None, "small", options, products, {}, 0)
        return run_learner(learner, ("nut", "lid"), setting, {})

    assert run().stages[0]["nut"] == pytest.approx([0.5])
    with pytest.raises(OptionError, match="learned with learning_rate=5e-4 variant=moe, not"):
        run(learning_rate="1e-3")


def test_an_unknown_category_is_named(tmp_path):
    folder = tmp_path / "metal" / "nut" / "train" / "good"
    folder.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(folder / "0.png")
    with pytest.raises(OptionError, match="bolt is not a category"):
        tasks_of(tmp_path, ["bolt"], 0)
