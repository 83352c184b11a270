"""The comparison on the line with depth goes on where it was interrupted."""

import json

import pytest
from click.testing import CliRunner

from cad_edge_studies.rgbd_comparison import __main__ as command
from cad_edge_studies.rgbd_comparison.learning import hyperparameters
from cad_edge_studies.rgbd_comparison.task_sequence import IUF_LIKE, LONGEST, OURS, Run, all_runs


def record(run: Run, **changes) -> dict:
    """A run in which every product has an AUROC of 0.9 throughout."""
    steps = run.steps()
    names = [name for step in steps for name in step]
    matrix, known = [], 0
    for step in steps:
        known += len(step)
        matrix.append([0.9] * known + [None] * (len(names) - known))
    rejects = {"false_rejects": 0.1, "false_rejects_stale": 0.5}
    figures = {"image_auroc": 0.9, "pixel_auroc": 0.9, "aupro": 0.5, **rejects}
    held = {"matrix": matrix, "last": dict.fromkeys(names, figures), "seconds": 1.0}
    return {**held, "hyperparameters": hyperparameters(run.options), **changes}


def call(tmp_path, *arguments: str):
    return CliRunner().invoke(
        command.main,
        ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out.json"), *arguments],
    )


@pytest.fixture
def kept(tmp_path):
    """Two runs: one in the folder, one in the result file of another machine."""
    ours, theirs = (Run(learner, LONGEST, "rgbd", 0) for learner in (OURS, IUF_LIKE))
    folder = tmp_path / "work" / ours.name
    folder.mkdir(parents=True)
    (folder / "judged.json").write_text(json.dumps(record(ours)))
    (tmp_path / "out.json").write_text(json.dumps({"runs": {theirs.name: record(theirs)}}))
    return ours, theirs


def test_runs_come_from_the_folder_and_from_the_result(tmp_path, kept):
    done = call(tmp_path, "--runs", "0")
    assert done.exit_code == 0, done.output
    runs = json.loads((tmp_path / "out.json").read_text())["runs"]
    assert list(runs) == [run.name for run in kept]
    assert "| 6-1x4 | IUF-like | rgbd | 90.0" in done.output
    assert "not measured" in done.output


def test_runs_of_other_options_do_not_count(tmp_path, kept):
    ours, theirs = kept
    other = record(theirs) | {"hyperparameters": {"width": 8}}
    (tmp_path / "out.json").write_text(json.dumps({"runs": {theirs.name: other}}))
    assert call(tmp_path, "--runs", "0").exit_code == 0
    assert list(json.loads((tmp_path / "out.json").read_text())["runs"]) == [ours.name]


def test_what_is_missing_is_learned_in_order(tmp_path, kept, monkeypatch):
    learned = []

    def learn(work, run):
        learned.append((run.modality, run.seed))
        (work / run.name).mkdir(parents=True)
        (work / run.name / "judged.json").write_text(json.dumps(record(run)))
        return record(run)

    first = next(run for run in all_runs() if run not in kept)
    monkeypatch.setattr(command, "learn_run", learn)
    done = call(tmp_path, "--runs", "1")
    assert done.exit_code == 0, done.output
    assert learned == [(first.modality, first.seed)]
    assert first.name in json.loads((tmp_path / "out.json").read_text())["runs"]


def test_options_of_a_run_are_defaults_and_its_own():
    found = hyperparameters(Run(IUF_LIKE, LONGEST, "rgbd", 0).options)
    assert (found["regulariser"], found["fusion"], found["bottleneck"]) == (
        False,
        "addition",
        False,
    )
    assert (found["start"], found["width"]) == ("fitted", 128)
