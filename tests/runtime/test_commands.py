"""The command line on a device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge import cli
from cad_edge.calibration import decide
from cad_edge.errors import ImageError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Recognition

pytestmark = pytest.mark.torchless


@pytest.fixture
def run():
    """Call the command line with arguments of any kind."""
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.main, [str(one) for one in arguments])


@pytest.fixture
def pictures(tmp_path, frames, amber):
    """A folder: red.bad.png, an unknown one, and a subfolder with blue.good.png."""
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(frames["red.bad"][0]).save(folder / "red.bad.png")
    Image.fromarray(amber[0]).save(folder / "unknown.png")
    Image.fromarray(frames["blue.good"][0]).save(folder / "sub" / "blue.good.png")
    return folder


def failed(result, words: str) -> bool:
    """One sentence on the error output, nothing else, exit status 1."""
    lines = result.stderr.splitlines()
    assert result.exit_code == 1 and len(lines) == 1 and lines[0].startswith("Error: ")
    assert isinstance(result.exception, SystemExit)
    return words in lines[0]


def test_detect_prints_one_object_per_image(run, bundle, pictures):
    result = run("detect", bundle, pictures)
    assert result.exit_code == 0 and result.stderr == ""
    records = [json.loads(line) for line in result.stdout.splitlines()]
    keys = ["path", "task", "verdict", "similarity", "score", "p_value", "threshold", "defects"]
    assert all(list(record)[:8] == keys for record in records)
    found = {Path(record["path"]).name: record for record in records}
    assert found["red.bad.png"]["verdict"] == "anomalous"
    assert found["red.bad.png"]["defects"][0]["area"] > 0
    assert found["blue.good.png"]["task"] == "blue"
    assert found["unknown.png"]["verdict"] == "unknown_product"
    assert found["unknown.png"]["task"] is None


def test_detect_with_a_task_and_heatmaps(run, bundle, pictures, tmp_path):
    heat = tmp_path / "heat"
    result = run("detect", bundle, pictures, pictures / "red.bad.png", "--heatmaps", heat)
    assert result.exit_code == 0
    drawn = sorted(str(path.relative_to(heat)) for path in heat.rglob("*.png"))
    assert drawn == ["red.bad-2.png", "red.bad.png", "sub/blue.good.png"]
    picture = np.asarray(Image.open(heat / "red.bad.png"))
    original = np.asarray(Image.open(pictures / "red.bad.png"))
    changed = (picture != original).any(axis=2)
    assert picture.shape == original.shape and changed[9:13, 21:25].all() and not changed.all()
    given = run("detect", bundle, pictures / "unknown.png", "--task", "red")
    record = json.loads(given.stdout)
    assert (record["task"], record["similarity"]) == ("red", None)


def test_bad_image_is_named_and_the_others_are_inspected(run, bundle, pictures):
    (pictures / "a.png").write_bytes(b"no image")
    Image.new("RGB", (1, 1)).save(pictures / "b.png")
    result = run("detect", bundle, pictures, pictures / "absent.png")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3
    errors = result.stderr.splitlines()
    assert len(errors) == 3
    for name, line in zip(("a.png", "b.png", "absent.png"), errors, strict=True):
        assert line.startswith("Error: ") and name in line


def test_folder_without_images(run, bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    assert failed(run("detect", bundle, tmp_path / "empty"), "empty holds no image")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "reds"), "'reds'; it holds blue, green, red"),
        (("--device", "cuda"), "CUDAExecutionProvider"),
        (("--device", "gpu"), "'gpu' is not known"),
    ],
)
def test_detect_refuses_options(run, bundle, pictures, options, words):
    assert failed(run("detect", bundle, pictures, *options), words)


def test_detect_refuses_no_threads(run, bundle, pictures):
    done = run("detect", bundle, pictures, "--threads", "0")
    assert done.exit_code == 2 and not done.stdout
    assert "Invalid value for '--threads': 0 is not in the range x>=1" in done.stderr


def test_every_command_names_a_missing_bundle(run, tmp_path):
    absent = tmp_path / "absent"
    for command in (
        ("detect", absent, tmp_path),
        ("explain", absent, tmp_path),
        ("tasks", absent),
        ("threshold", absent, "--task", "red", "--false-reject-rate", "0.1"),
        ("verify", absent),
        ("rollback", absent),
        ("gc", absent),
    ):
        assert failed(run(*command), "absent"), command
    assert not absent.exists()


def test_tasks(run, bundle):
    table = run("tasks", bundle).stdout.splitlines()
    assert table[0].endswith("version 1, 3 tasks, unsigned")
    assert [line.split()[0] for line in table[1:]] == ["task", "red", "green", "blue"]
    rows = json.loads(run("tasks", bundle, "--json").stdout)
    assert rows[2]["layout"] == "fused" and rows[0]["images_needed"] == 19
    assert [row["recognition"] for row in rows] == [None] * 3


def test_the_rule_of_recognition_is_for_machines_alone(run, bundle, workshop):
    before = run("tasks", bundle).stdout.splitlines()[1:]
    rule = Recognition(sure=0.5, map_level=0.25, map_span=2.0, limit=0.55)
    workshop.change_task("red", lambda entry: entry.model_copy(update={"recognition": rule}))
    rows = {row["task"]: row for row in json.loads(run("tasks", bundle, "--json").stdout)}
    assert rows["red"]["recognition"] == rule.model_dump()
    assert rows["blue"]["recognition"] is None
    assert run("tasks", bundle).stdout.splitlines()[1:] == before


def in_groups(entry, groups: int):
    """The entry as if its held-out images were of so many groups."""
    calibration = entry.calibration.model_copy(update={"groups": groups})
    decision = decide(calibration, entry.decision.false_reject_rate)
    return entry.model_copy(update={"calibration": calibration, "decision": decision})


def test_groups_say_which_rate_is_supported(run, bundle, workshop):
    assert "groups" not in run("tasks", bundle).stdout.splitlines()[1]
    assert json.loads(run("tasks", bundle, "--json").stdout)[0]["groups"] is None
    workshop.change_task("red", lambda entry: in_groups(entry, 8))
    rows = {row["task"]: row for row in json.loads(run("tasks", bundle, "--json").stdout)}
    red, blue = rows["red"], rows["blue"]
    assert (red["images"], red["groups"], red["images_needed"]) == (40, 8, 19)
    assert not red["supported"] and blue["supported"] and blue["groups"] is None
    header, *lines = (line.split() for line in run("tasks", bundle).stdout.splitlines()[1:])
    assert {line[0]: line[header.index("groups")] for line in lines}["blue"] == "-"
    options = ("threshold", bundle, "--task", "red", "--false-reject-rate")
    said = run(*options, "0.05").stdout
    assert "needs 19 groups of held-out images of good parts but there are 8, of 40 images" in said
    assert "the rate is not promised, and the smallest rate that they support is 0.111." in said
    said = run(*options, "0.2").stdout
    assert "needs 4 groups of held-out images of good parts and there are 8, of 40 images" in said
    assert said.endswith("the rate holds.\n")
    assert Bundle(bundle).manifest().tasks["red"].decision.groups == 8


def test_tasks_of_an_empty_bundle(run, bundle, workshop, pictures):
    workshop.forget_all()
    assert run("tasks", bundle).stdout.endswith("version 2, 0 tasks, unsigned\n")
    assert json.loads(run("tasks", bundle, "--json").stdout) == []
    assert failed(run("detect", bundle, pictures / "unknown.png"), "holds no task")


def test_threshold_writes_a_version_and_says_what_the_rate_needs(run, bundle):
    before = Bundle(bundle).manifest()
    result = run("threshold", bundle, "--task", "red", "--false-reject-rate", "0.2")
    assert result.exit_code == 0
    assert "needs 4 held-out images" in result.stdout and "there are 40" in result.stdout
    after = Bundle(bundle).manifest()
    entry = before.tasks["red"]
    assert after.tasks["red"].decision == decide(entry.calibration, 0.2, 0)
    assert after.tasks["red"].decision.threshold < entry.decision.threshold
    assert (after.version, after.tasks["blue"]) == (2, before.tasks["blue"])
    assert run("verify", bundle).exit_code == 0
    assert run("rollback", bundle).stdout.endswith("version 1 is in force, it was 2\n")
    assert Bundle(bundle).manifest() == before


def test_threshold_refuses_a_rate_that_no_tail_can_stand_for(run, bundle):
    before = run("tasks", bundle).stdout
    result = run("threshold", bundle, "--task", "red", "--false-reject-rate", "0.001")
    assert result.exit_code == 1 and "0.001 is beyond what 40 images" in result.output
    assert run("tasks", bundle).stdout == before


def test_threshold_says_when_images_are_too_few(run, bundle):
    result = run("threshold", bundle, "--task", "red", "--false-reject-rate", "0.005")
    assert "needs 199" in result.stdout and "but there are 40" in result.stdout
    assert "0.0244" in result.stdout


def test_threshold_keeps_or_changes_the_minimum_area(run, bundle, pictures):
    arguments = ("threshold", bundle, "--task", "red", "--false-reject-rate", "0.05")
    run(*arguments, "--minimum-area", 200)
    run(*arguments)
    assert Bundle(bundle).manifest().tasks["red"].decision.minimum_area == 200
    record = json.loads(run("detect", bundle, pictures / "red.bad.png").stdout)
    assert record["verdict"] == "anomalous" and record["defects"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "reds", "--false-reject-rate", "0.1"), "'reds'"),
        (("--task", "red", "--false-reject-rate", "0"), "--false-reject-rate 0 "),
        (("--task", "red", "--false-reject-rate", "1.5"), "--false-reject-rate 1.5"),
        (("--task", "red", "--false-reject-rate", "nan"), "--false-reject-rate nan"),
        (("--task", "red", "--false-reject-rate", "0.1", "--minimum-area", "-1"), "-1"),
    ],
)
def test_threshold_refuses_options_and_changes_nothing(run, bundle, options, words):
    before = (bundle / "bundle.json").read_bytes()
    assert failed(run("threshold", bundle, *options), words)
    assert (bundle / "bundle.json").read_bytes() == before


def test_threshold_waits_for_nobody(run, bundle):
    with Bundle(bundle).lock():
        result = run("threshold", bundle, "--task", "red", "--false-reject-rate", "0.1")
    assert failed(result, "being written to")


def test_verify_finds_bytes_and_graphs(run, bundle, workshop):
    assert run("verify", bundle).stdout.endswith("version 1 is sound\n")
    path = next(bundle.glob("objects/*/tensors.safetensors"))
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    assert failed(run("verify", bundle), path.name)
    path.write_bytes(sound)
    workshop.change_graph("blue", b"no graph")
    assert failed(run("verify", bundle), "graph.onnx")


def test_rollback_and_gc(run, bundle, workshop, amber):
    workshop.learn("amber", amber)
    workshop.learn("ochre", amber)
    assert run("rollback", bundle, "--to", 1).exit_code == 0
    assert failed(run("rollback", bundle, "--to", 9), "9")
    result = run("gc", bundle, "--keep", 1)
    assert result.exit_code == 0 and "deleted" in result.stdout
    assert failed(run("gc", bundle, "--keep", 0), "keep")
    assert run("verify", bundle).exit_code == 0
    assert Bundle(bundle).pointer().version == 1


def test_help_lists_the_contract_and_imports_no_command():
    code = (
        "import sys\n"
        "from cad_edge.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in sys.modules if m.startswith('cad_edge_') or m == 'numpy'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    named = [line.split()[0] for line in lines[lines.index("Commands:") + 1 : -1]]
    learn_and_run = "check train export detect explain tasks threshold verify rollback sign gc"
    measure_and_show = "evaluate benchmark protocol advise demo"
    assert named == f"{learn_and_run} {measure_and_show}".split()


def test_version(run):
    assert run("--version").stdout == "cad-edge, version 0.1.0\n"


def test_unknown_command(run):
    result = run("detekt")
    assert result.exit_code == 2 and "detekt" in result.stderr


def test_missing_extra_says_what_to_install(run, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    assert failed(run("train"), 'needs torch, which is not installed; run `pip install "cad-edge')


def test_errors_of_commands_are_sentences(run, monkeypatch, bundle):
    for problem, words in (
        (ImageError("x.png is broken; take another"), "Error: x.png is broken; take another"),
        (OSError(28, "No space left on device", "/out/a"), "/out/a: No space left on device"),
        (ModuleNotFoundError("No module named 'scipy'", name="scipy"), "needs scipy"),
    ):

        def broken(self, problem=problem):
            raise problem

        monkeypatch.setattr(Bundle, "manifest", broken)
        assert failed(run("tasks", bundle), words)


def test_interruption_is_quiet(run, monkeypatch, bundle):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Bundle, "manifest", interrupted)
    result = run("tasks", bundle)
    assert result.exit_code == 1 and "Traceback" not in result.stderr
