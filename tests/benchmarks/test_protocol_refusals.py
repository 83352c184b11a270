"""Everything that `cad-edge protocol` refuses: one sentence, and nothing written."""

import json

import pytest

from tests.benchmarks.protocol_datasets import write_image, write_mvtec, write_visa
from tests.house.refusals import content, run, sentence


@pytest.fixture
def stream(tmp_path):
    write_mvtec(tmp_path / "data", ["bottle", "cable"])
    return written(tmp_path, ["bottle", "cable"])


def written(folder, names, name="line.json", **more):
    tasks = [{"name": one, "path": f"data/{one}"} for one in names]
    path = folder / name
    path.write_text(json.dumps({"name": "l", "false_reject_rate": 0.2, "tasks": tasks, **more}))
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "1", "--seed", "1"], "--seed 1 is given twice"),
        (["--order", "given", "--order", "given"], "--order given is given twice"),
        (["--baseline", "naive", "--baseline", "naive"], "--baseline naive is given twice"),
        (["--baseline", "best"], "'best' is not one of 'joint', 'naive', 'replay'"),
        (["--compat", "flop"], "--compat flop: no such switch; take one of flip, task_given"),
        (["--compat", "visa_train_cap"], "l has no class in the layout visa"),
        (["--orders", "3"], "2 parts have only 2 orders"),
        (["--orders", "2", "--order", "given"], "give one of the two"),
        (["--data", "a", "--data", "b"], "the paths of a stream file have one folder"),
        (["--data", "elsewhere"], "does not exist; paths are relative to elsewhere"),
        (["--false-reject-rate", "0.1"], "goes with the name of a protocol or a folder"),
        (["--method", "best"], "method 'best' is unknown"),
        (["--set", "memory=3"], "--set memory: patch_memory has no such option"),
        (["--set", "keys"], "write it as NAME=VALUE"),
        (["--backbone", "resnet"], "backbone 'resnet' is unknown"),
    ],
)
def test_options_are_refused_before_anything_is_written(stream, tmp_path, words, said):
    out = tmp_path / "out"
    assert said in sentence("protocol", "--stream", stream, "--out", out, *words)
    assert not out.exists()


def test_tasks_that_come_twice(tmp_path, stream):
    double = written(tmp_path, ["bottle", "bottle"], "double.json")
    said = sentence("protocol", "--stream", double, "--out", tmp_path / "out")
    assert "names the task bottle twice" in said


def test_steps_that_do_not_hold_the_tasks(tmp_path, stream):
    wrong = written(tmp_path, ["bottle", "cable"], "wrong.json", steps=[["bottle"], ["pill"]])
    assert "do not hold every task once" in sentence(
        "protocol", "--stream", wrong, "--out", tmp_path / "out"
    )


def test_a_stream_that_could_not_be_measured_at_all(tmp_path):
    write_mvtec(tmp_path / "data", ["bottle"], defects=False)
    only = written(tmp_path, ["bottle"])
    said = sentence("protocol", "--stream", only, "--out", tmp_path / "out")
    assert "no task of l has good and defective test images" in said
    assert not (tmp_path / "out").exists()


def test_unknown_protocols_and_missing_classes(tmp_path):
    said = sentence(
        "protocol", "--stream", "mvtec/9-9", "--data", tmp_path, "--out", tmp_path / "out"
    )
    assert "mvtec/9-9 is neither a stream file nor a protocol" in said
    write_visa(tmp_path / "visa", ["candle", "pcb1"])
    said = sentence(
        "protocol", "--stream", "visa/8-4", "--data", tmp_path / "visa", "--out", tmp_path / "out"
    )
    assert "lacks capsules, cashew, chewinggum" in said and "pcb1" not in said
    assert not (tmp_path / "out").exists()


def test_a_place_that_holds_something_else_is_left_alone(stream, tmp_path):
    out = tmp_path / "photos"
    write_image(out / "holiday.png")
    before = content(out)
    assert "holds other files" in sentence("protocol", "--stream", stream, "--out", out)
    assert content(out) == before and not (out / ".lock").exists()
    file = tmp_path / "file"
    file.write_text("a")
    assert "is a file); give a folder" in sentence(
        "protocol", "--stream", stream, "--out", file / "out"
    )
    assert "is a file); give a folder" in sentence("protocol", "--stream", stream, "--out", file)


def test_images_that_cannot_be_learned_leave_a_folder_that_can_be_gone_on_with(stream, tmp_path):
    """Learning itself refuses; what was begun is compared with what is asked for next."""
    out = tmp_path / "out"
    for image in range(1, 5):
        (tmp_path / f"data/bottle/train/good/{image:03d}.png").unlink()
    # The image that is left has one grey level, which is said before their number.
    assert "shows nothing" in sentence("protocol", "--stream", stream, "--out", out)
    changed = sentence("protocol", "--stream", stream, "--out", out, "--set", "keys=8")
    assert (
        "was begun with options {} of cad-edge, not {'keys': '8'}; give another folder" in changed
    )
    write_image(tmp_path / "data/cable/train/good/new.png")
    assert "was begun with other images of cable" in sentence(
        "protocol", "--stream", stream, "--out", out
    )


def test_help_names_every_protocol():
    said = run("protocol", "--help").output
    assert "mvtec/10-1x5" in said and "cross-dataset" in said
