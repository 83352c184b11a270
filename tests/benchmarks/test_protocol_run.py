"""A line learned for real, step by step: every figure, resuming, and the switches."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from cad_edge.data.dataset import read_product
from cad_edge.data.stream import Stream, read_stream
from cad_edge_benchmarks.evaluate.command import evaluate_stream
from cad_edge_benchmarks.instruments.evaluation import RATES
from cad_edge_benchmarks.instruments.verdicts import pooled
from cad_edge_benchmarks.protocol.run import read_step
from cad_edge_runtime import Detector
from tests.benchmarks.protocol_line import arguments, run, write_line
from tests.training.tiny_models import save_dinov2

OURS = "runs/given-seed-0/cad-edge/measured"


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return save_dinov2(tmp_path_factory.mktemp("models") / "tiny-dinov2", side=56)


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> Path:
    return write_line(tmp_path_factory.mktemp("line"))


@pytest.fixture(scope="module")
def finished(stream, network, tmp_path_factory):
    """Folder of a protocol with one baseline, and what the command printed."""
    out = tmp_path_factory.mktemp("protocol") / "out"
    return out, run(stream, out, network, "--baseline", "replay")


@pytest.fixture
def out(finished, tmp_path) -> Path:
    """Copy of that folder, to go on in."""
    return Path(shutil.copytree(finished[0], tmp_path / "out"))


def result_in(folder: Path, name: str = "protocol") -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def without_time(value):
    """The same without seconds, which no two runs share."""
    if isinstance(value, dict):
        return {key: without_time(one) for key, one in value.items() if "seconds" not in key}
    return [without_time(one) for one in value] if isinstance(value, list) else value


def test_the_last_step_has_the_figures_of_evaluate(finished, stream):
    whole = read_stream(stream)
    tested = [task for task in whole.tasks if read_product(task.path).test]
    with Detector.open(finished[0] / OURS / "bundle", device="cpu", threads=1) as detector:
        expected = evaluate_stream(detector, Stream(**whole.model_dump() | {"tasks": tested}))
    measured = read_step(finished[0] / OURS / "step-02.json").measurement.evaluations
    assert measured == expected
    assert measured["checks"].aupro is not None


def test_defects_found_come_first(finished):
    result = result_in(finished[0])
    first, second, *_ = (one.replace("\n", " ") for one in finished[1].stdout.split("\n\n"))
    assert first == result["headline"]
    assert first.startswith("cad-edge finds ") and "; rejects " in first and "interval" in first
    assert second.startswith("With perfect thresholds at that rate the same scores would find ")
    learners = result["learners"]["cad-edge"]["runs"][0]["all_parts"]
    evaluations = read_step(finished[0] / OURS / "step-02.json").measurement.evaluations.values()
    assert learners == json.loads(json.dumps(asdict(pooled(evaluations))))
    page = (finished[0] / "protocol.html").read_text()
    assert f'<p class="headline">{first}</p>' in page
    assert page.index("Learners: verdicts") < page.index("Learners: scores and forgetting")
    assert f"**{first}**" in (finished[0] / "protocol.md").read_text()


def test_the_matrix_begins_where_a_task_does(finished):
    ours = result_in(finished[0])["learners"]["cad-edge"]["runs"][0]
    assert ours["tasks"] == ["checks", "stripes", "waves"]
    first, second = ours["continual"]["image_auroc"]["matrix"]
    assert None not in first[:2] and first[2] is None
    assert None not in second[:2]
    assert list(ours["results"][0]["measurement"]["evaluations"]) == ["checks", "stripes"]


def test_undefined_is_null_and_said(finished):
    ours = result_in(finished[0])
    waves = ours["learners"]["cad-edge"]["tasks"]["waves"]
    assert waves["image_auroc"]["mean"] is None and waves["image_f1"]["mean"] is None
    assert waves["routing_normal"]["mean"] is not None
    assert ours["learners"]["cad-edge"]["tasks"]["stripes"]["pixel_auroc"]["mean"] is None
    assert ours["undefined"] == ["waves has only good test images"]
    lines = [one for one in finished[1].stdout.splitlines() if one.startswith("waves ")]
    verdicts, scores, *_ = (line.split()[1:] for line in lines)
    assert verdicts[0] == "undefined" and verdicts[3] == "to"  # no defects, but rejects
    assert scores[:3] == ["undefined"] * 3
    assert "nan" not in (finished[0] / "protocol.md").read_text().lower()


def test_a_baseline_routes_nothing_and_keeps_one_model(finished):
    learners = result_in(finished[0])["learners"]
    summary = learners["replay"]["summary"]
    assert summary["routing_normal"]["mean"] is None
    assert summary["false_reject_rate"]["mean"] is not None
    images = {
        name: [
            cost["images"]
            for result in one["runs"][0]["results"]
            for cost in result["measurement"]["costs"].values()
        ]
        for name, one in learners.items()
    }
    # cad-edge learns 8 images a task; its costs after a step are those of all tasks so far
    assert images["cad-edge"] == [8, 8, 8, 8, 8]
    assert images["replay"][0] == 16
    assert 8 < images["replay"][1] <= 24


def test_replay_stays_within_the_bytes_of_cad_edge(finished):
    learners = result_in(finished[0])["learners"]
    ours, replay = (
        learners[name]["runs"][0]["results"][1]["measurement"] for name in ("cad-edge", "replay")
    )
    older = sum(ours["costs"][name]["bytes"] for name in ("checks", "stripes"))
    stored = replay["kept_bytes"] - replay["costs"]["step-02"]["bytes"]
    assert 0 < stored <= older


def test_a_second_call_measures_nothing_again(out, stream, network):
    before = (out / OURS / "step-02.json").stat().st_mtime_ns
    again = run(stream, out, network)
    assert "step 2 of 2: measured before" in again.stderr
    assert (out / OURS / "step-02.json").stat().st_mtime_ns == before
    assert set(result_in(out)["learners"]) == {"cad-edge"}


def test_a_step_that_is_gone_is_measured_as_before(out, stream, network):
    """Also the first one, although the bundle has grown beyond it."""
    before = result_in(out)["learners"]["cad-edge"]
    (out / OURS / "step-01.json").unlink()
    run(stream, out, network)
    assert without_time(result_in(out)["learners"]["cad-edge"]) == without_time(before)


def test_a_killed_protocol_goes_on_to_the_same_result(finished, stream, network, tmp_path):
    out = tmp_path / "killed"
    words = arguments(stream, out, network)
    child = subprocess.Popen(
        [sys.executable, "-c", "from cad_edge.cli import main; main()", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (out / OURS / "step-01.json").is_file() and time.monotonic() < deadline:
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "protocol.json").exists()
    resumed = run(stream, out, network)
    assert "step 1 of 2: measured before" in resumed.stderr
    assert "step 2 of 2: waves" in resumed.stderr
    expected = result_in(finished[0])["learners"]["cad-edge"]
    assert without_time(result_in(out)["learners"]["cad-edge"]) == without_time(expected)


def test_switches_get_reports_of_their_own_in_red(out, stream, network):
    honest = (out / "protocol.json").read_bytes()
    switches = [w for name in ("task_given", "best_f1", "flip") for w in ("--compat", name)]
    done = run(stream, out, network, *switches, "--last-only")
    assert (out / "protocol.json").read_bytes() == honest
    name = "protocol+flip+task_given+best_f1"
    result = result_in(out, name)
    assert list(result["compat"]) == ["compat_flip", "compat_task_given", "compat_best_f1"]
    assert result["learners"]["cad-edge"]["summary"]["routing_normal"]["mean"] is None
    red = "\x1b[31m"
    assert f"{red}compat_flip: an AUROC below 0.5" in done.stdout
    scores = next(one for one in done.stdout.split("\n\n") if "A-AUROC" in one)
    assert scores.splitlines()[-3].count(red) == 12
    assert "†</span>" in (out / f"{name}.md").read_text()
    page = (out / f"{name}.html").read_text()
    assert '<td class="tainted">' in page
    assert '<p class="tainted">compat_task_given: every test image' in page


def test_the_last_step_alone_leaves_forgetting_undefined(stream, network, out):
    result = run(stream, out, network, "--last-only")
    summary = result_in(out)["learners"]["cad-edge"]["summary"]
    assert summary["a_auroc"]["mean"] is not None
    assert [summary[name]["mean"] for name in ("fm", "average", "bwt")] == [None] * 3
    assert "Only the last step was measured" in result.stdout


def test_honest_reports_are_not_red(finished):
    assert "\x1b[31m" not in finished[1].stdout
    assert 'class="tainted"' not in (finished[0] / "protocol.html").read_text()
    assert "color:" not in (finished[0] / "protocol.md").read_text()


def test_every_figure_of_evaluate_is_kept(finished):
    tasks = result_in(finished[0])["learners"]["cad-edge"]["tasks"]
    assert set(tasks["checks"]) == set(RATES)
