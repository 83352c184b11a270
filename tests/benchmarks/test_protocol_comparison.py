"""Study files carried out: several learners beside each other, and tasks that share weights."""

import json
from pathlib import Path

import pytest
import yaml

from cad_edge.data.stream import StreamTask
from cad_edge.store.artifact import read_record
from cad_edge_benchmarks.protocol import run as protocol_run
from cad_edge_benchmarks.protocol.learner_settings import LearnerSettings
from cad_edge_benchmarks.protocol.plan import plan_of
from cad_edge_benchmarks.protocol.report import ProtocolReport, described, facts
from cad_edge_benchmarks.protocol.run import Run, RunRequest, run_all
from cad_edge_benchmarks.protocol.task_sequence import TaskSequence
from tests.benchmarks.protocol_line import write_line
from tests.house.refusals import run, sentence
from tests.training.rgbd_products import QUICK, SIDE, rgbd_stream
from tests.training.small_products import write_product
from tests.training.tiny_llava import save_tiny_llava
from tests.training.tiny_models import save_dinov2


def carry_out(path: Path, out: Path, *words: object):
    done = run("protocol", path, "--out", out, "--threads", 1, *words)
    assert done.exit_code == 0, done.output
    return done, json.loads((out / "protocol.json").read_text())["learners"]


@pytest.mark.slow
def test_learners_stand_beside_each_other_and_more_may_come(tmp_path):
    network = save_dinov2(tmp_path / "tiny-dinov2", side=56)
    write_line(tmp_path)
    small = {"memories": "1+2x16", "statistics_blocks": "", "keys": 8}
    content = {
        "study": "two banks",
        "stream": "line.json",
        "method": "patch_memory",
        "backbone": f"dinov2:{network}",
        "options": small,
        "learners": {"small bank": {}, "large bank": {"options": {"memories": "1+2x32"}}},
    }
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    done, found = carry_out(path, out, "--last-only")
    assert list(found) == ["small bank", "large bank"]
    assert done.stdout.startswith("small bank finds ")
    bytes_kept = [one["summary"]["kept_bytes_per_task"]["mean"] for one in found.values()]
    assert bytes_kept[0] < bytes_kept[1]
    page = (out / "protocol.html").read_text()
    assert page.count("<td>large bank</td>") >= 4 and "memories=1+2x32" in page
    further = {"all": {"baseline": "naive"}, "each": {"baseline": "separate"}}
    content["learners"] = {**content["learners"], **further}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    again, more = carry_out(path, out, "--last-only")
    assert "small bank, order given, seed 0, step 2 of 2: measured before" in again.stderr
    assert list(more) == ["small bank", "large bank", "all", "each"]
    # A method that shares nothing keeps the same, but for keys, which tell products apart.
    each, shared = (more[name]["summary"] for name in ("each", "small bank"))
    assert each["models"]["mean"] == 3
    assert each["kept_bytes_per_task"]["mean"] <= shared["kept_bytes_per_task"]["mean"]
    assert each["bundle_bytes"]["mean"] > 1.5 * shared["bundle_bytes"]["mean"]
    assert each["image_auroc"] == shared["image_auroc"]
    places = out / "runs" / "given-seed-0" / "each"
    assert len(list(places.glob("measured/bundle-*"))) == 3
    content["learners"]["large bank"] = {}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    refused = sentence("protocol", path, "--out", out)
    assert "of large bank, not {" in refused and "was begun with options" in refused


def test_tasks_of_a_step_are_learned_together(tmp_path):
    """With depth, by a network that each step changes; its last model answers for all."""
    rgbd_stream(tmp_path / "line", (("gear", "bolt"), ("loaf",)))
    content = {
        "study": "depth",
        "stream": "line/stream.yaml",
        "method": "ib_iumad",
        "size": SIDE,
        "options": QUICK,
        "learners": {"both": {}},
    }
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    _, found = carry_out(path, out, "--last-only")
    learned = out / "runs/given-seed-0/both/learned"
    seconds = {name: read_record(learned / name).provenance.seconds for name in ("gear", "bolt")}
    assert seconds["gear"] == seconds["bolt"]  # of a step, divided among its tasks
    (one,) = found["both"]["runs"]
    (last,) = one["results"]
    evaluations = last["measurement"]["evaluations"]
    aurocs = {name: one["image_auroc"] for name, one in evaluations.items()}
    assert set(aurocs) == {"gear", "bolt", "loaf"} and None not in aurocs.values()
    costs = last["measurement"]["costs"]
    assert all(cost["bytes"] > 10_000 for cost in costs.values())  # a share of what is in common


def test_every_order_has_every_seed_and_some_know_no_order(tmp_path, monkeypatch):
    done = []

    def record(name, learner, steps, trial):
        done.append((name, trial.order, trial.seed, [[one.name for one in step] for step in steps]))
        return Run(name, trial.order, trial.seed, (), ())

    monkeypatch.setattr(protocol_run, "_run", record)
    kind = {"method": "m", "backbone": "b", "size": None, "options": {}}
    learners = {
        "once": LearnerSettings(baseline=None, one_step=True, **kind),
        "a": LearnerSettings(baseline=None, one_step=False, **kind),
        "all": LearnerSettings(baseline="joint", one_step=False, **kind),
        "each": LearnerSettings(baseline="separate", one_step=False, **kind),
    }
    tasks = [(StreamTask(name=name, path=tmp_path),) for name in ("nut", "lid")]
    sequence = TaskSequence("s", tuple(tasks), 0.1, whole_steps_move=False)
    orders = ("given", "reversed")
    request = RunRequest(tmp_path, learners, orders, (0, 1), (), None, False, print)
    assert len(run_all(sequence, request)) == len(done) == 12
    assert done[:3] == [
        ("once", "given", 0, [["nut", "lid"]]),
        ("a", "given", 0, [["nut"], ["lid"]]),
        ("all", "given", 0, [["nut"], ["lid"]]),
    ]
    assert done[-1] == ("all", "reversed", 1, [["lid"], ["nut"]])
    for name in ("once", "each"):
        assert [one[1:3] for one in done if one[0] == name] == [("given", 0), ("given", 1)]
    assert [one[1:3] for one in done if one[0] == "a"] == [
        (order, seed) for order in orders for seed in (0, 1)
    ]


def test_learners_in_one_step_are_named(tmp_path):
    kind = {"method": "ib_iumad", "backbone": "b", "size": None, "options": {}}
    learners = {
        "once": LearnerSettings(baseline=None, one_step=True, **kind),
        "each": LearnerSettings(baseline="separate", one_step=False, **kind),
    }
    plan = plan_of(TaskSequence("s", (), 0.1, whole_steps_move=False), "s", learners)
    said = facts(ProtocolReport(plan, (), (), False, ()))
    assert "in the first order alone and without forgetting: once." in said[-2]
    assert said[-1] == "Every task on its own, in the first order alone: each."
    assert described(learners["once"]) == "ib_iumad on b; all tasks in one step"


@pytest.fixture
def llava(tmp_path):
    return f"llava:{save_tiny_llava(tmp_path / 'tiny-llava', 'lite0')}"


@pytest.mark.slow
def test_labelled_images_are_learned_with_their_labels(tmp_path, llava):
    for name in ("checks", "waves"):
        write_product(tmp_path, name, good=12, test=8)
    tasks = [
        {"name": name, "path": name, "labelled": {"test_share": 0.4}}
        for name in ("checks", "waves")
    ]
    stream = {"name": "asked", "false_reject_rate": 0.2, "tasks": tasks}
    (tmp_path / "stream.json").write_text(json.dumps(stream))
    content = {
        "study": "asked",
        "stream": "stream.json",
        "method": "cl_anomaly",
        "backbone": llava,
        "options": {"epochs": 1, "batch": 4, "learning_rate": 0.01},
        "learners": {"one": {"baseline": "joint", "options": {"variant": "moe"}}},
    }
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    _, found = carry_out(path, out, "--last-only")
    (pooled,) = (out / "runs/given-seed-0/one/learned").glob(".images-*/train.json")
    answers = [one["conversations"][1]["value"] for one in json.loads(pooled.read_text())]
    assert {"Yes", "No"} == set(answers)
    assert found["one"]["runs"][0]["all_parts"]["images_defective"] > 0
