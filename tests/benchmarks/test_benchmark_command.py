"""`cad-edge benchmark` on the golden bundle: every scenario, the report's files, bad input."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge.cli import main
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.benchmark.comparison import read_previous_report
from tests.benchmarks.test_benchmark_versions import contents

QUICK = ("--seconds", "0.05", "--threads", "1", "--device", "cpu")
SCENARIOS = (
    "single-stream",
    "backbone",
    "offline",
    "multi-stream",
    "switch",
    "hot-load",
    "cold-start",
    "scale",
)


class Page(HTMLParser):
    """Every tag with its attributes, and whether all that was opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def images(stream_file):
    return stream_file.parent / "data"


@pytest.fixture
def few_starts(monkeypatch):
    """Device processes take a third of a second each."""
    monkeypatch.setattr("cad_edge_benchmarks.benchmark.scenarios.STARTS", 2)
    monkeypatch.setattr("cad_edge_benchmarks.benchmark.scenarios.FEW_STARTS", 1)


def run(bundle, *words):
    return CliRunner().invoke(main, ["benchmark", str(bundle), *QUICK, *map(str, words)])


@pytest.mark.usefixtures("few_starts")
def test_every_scenario_is_measured_and_reported(golden, images, tmp_path):
    before, out = contents(golden), tmp_path / "out"
    # One more, so that most frames are of a product in the layout shared, whose backbone is cut.
    shutil.copy(images / "red/train/good/0.png", images / "red/train/good/1.png")
    for number in range(2):
        checks = np.indices((32, 32, 3))[:2].sum(axis=0) // (4 + number) % 2 * 255
        Image.fromarray(checks.astype(np.uint8)).save(images / f"of-no-product-{number}.png")
    words = ("--images", images, "--scenario", "all", "--tasks", "2,5", "--out", out)
    done = run(golden, *words)
    assert done.exit_code == 0, done.output
    assert contents(golden) == before
    report = read_previous_report(out / "benchmark.json").report
    assert tuple(one.scenario for one in report.scenarios) == SCENARIOS
    assert report.skipped == {}
    assert report.provider == "CPUExecutionProvider"
    assert len(report.bundle.graphs) == 4
    check_frames(report)
    check_scale(report, golden)
    memory = report.memory
    assert 0 < memory.uss.median <= memory.pss.median <= memory.rss.median <= memory.peak_rss.median
    check_files(out, report)


def check_frames(report):
    assert (report.frames.source, report.frames.sizes) == ("images", ["32x32"])
    single = report.scenario("single-stream")
    routed = single.measured("routed")
    assert routed.latency.samples >= 100
    assert set(routed.stages) == {"decode", "resize", "select", "detect", "post"}
    assert "select" not in single.measured("task given").stages
    # 3 products with a good image to learn from, 2 good and 2 defective ones, and 2 that show no
    # product. Masks are no frames.
    assert set(routed.verdicts) == {"normal", "anomalous", "unknown_product"}
    assert any("refused as an unknown product" in note for note in single.notes)
    whole, parts = single.measured("file to verdict").latency, routed.latency
    assert whole.minimum > parts.minimum
    assert single.measured("selection alone").latency.p50 < parts.p50
    batches = report.scenario("offline").measurements
    assert [one.name for one in batches] == [f"batch of {size}" for size in (1, 2, 4, 8, 16)]
    assert all(sum(one.verdicts.values()) % int(one.name[9:]) == 0 for one in batches)
    (streams,) = report.scenario("multi-stream").measurements
    assert streams.latency.samples >= 200
    arrived = {one.name: one.value for one in report.scenario("hot-load").figures}
    assert arrived["arrivals"] >= 1
    assert (arrived["frames lost"], arrived["frames wrong"]) == (0, 0)
    alone = report.scenario("backbone")
    assert set(alone.measured("routed").verdicts) <= {"normal", "anomalous"}
    ratios = {one.name: one.value for one in alone.figures}
    assert ratios["routed / backbone alone, median"] > 1
    assert all(one.reference_workload.median > 0 for one in report.scenarios)


def check_scale(report, golden):
    small, large = report.scale
    assert (small.tasks, large.tasks, large.compared_with) == (2, 5, 2)
    assert small.ratio.median == 1.0
    objects = Bundle(golden).manifest().tasks["red"].engine.tensors
    size = sum(path.stat().st_size for path in (golden / "objects" / objects).iterdir())
    assert large.disk - small.disk > 2 * size


def check_files(out, report):
    text = (out / "benchmark.md").read_text()
    for name in (*SCENARIOS, "memory"):
        assert f"## {name.capitalize()}" in text
    page = (out / "benchmark.html").read_text()
    tags = Page(page)
    assert tags.open == []
    assert not re.search(r"https?://(?!www\.w3\.org/)|url\((?!#)|@import", page)
    assert not [tag for tag, attributes in tags.tags if "src" in attributes or tag == "link"]
    drawn = [attributes["aria-label"] for tag, attributes in tags.tags if tag == "svg"]
    assert "sizes by number of tasks" in drawn
    assert "frames per second by batch size" in drawn
    for sha in report.bundle.graphs:
        assert sha in text and sha in page


@pytest.mark.usefixtures("few_starts")
def test_synthetic_frames_are_inspected_and_said_to_be_synthetic(golden, tmp_path):
    before, out = contents(golden), tmp_path / "new" / "one.json"
    done = run(golden, "--scenario", "single-stream", "--scenario", "switch", "--out", out)
    assert done.exit_code == 0, done.output
    assert contents(golden) == before
    assert "The frames are synthetic and show no product." in done.output
    assert [path.name for path in out.parent.iterdir()] == ["one.json"]
    report = read_previous_report(out).report
    for result in report.scenarios:
        assert {verdict for one in result.measurements for verdict in one.verdicts} == {"normal"}
    stages = report.scenario("single-stream").measured("routed").stages
    assert set(stages) == {"resize", "select", "detect", "post"}
    figures = {one.name: one.value for one in report.scenario("switch").figures}
    assert figures["products"] == 3


@pytest.mark.usefixtures("few_starts")
def test_budgets_set_the_exit_code_and_a_comparison_names_what_differs(golden, tmp_path):
    old = tmp_path / "old.json"
    done = run(golden, "--out", old, "--budget-ms", "10000", "--budget-mb", "10000")
    assert done.exit_code == 0, done.output
    assert [one.kept for one in read_previous_report(old).report.budgets] == [True, True]
    record = json.loads(old.read_text())
    record["environment"]["cpu"] = "Other 3"
    for one in record["scenarios"][0]["measurements"]:
        for name in ("p50", "stretches"):
            value = one["latency"][name]
            one["latency"][name] = (
                [part / 50 for part in value] if name == "stretches" else value / 50
            )
    old.write_text(json.dumps(record))
    new = tmp_path / "new"
    done = run(golden, "--against", old, "--out", new, "--budget-ms", "1e-6")
    assert done.exit_code == 1
    assert "NOT kept" in done.output
    assert "Warning: another machine: cpu was Other 3, now " in done.output
    rows = {line.split("  ")[0]: line for line in done.output.splitlines()}
    assert rows["single-stream: routed"].endswith("more")
    assert rows["memory: unique"].endswith("noise")
    assert "ratios of this run to the earlier one" in (new / "benchmark.html").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--budget-ms", "fast"), "Invalid value for '--budget-ms': 'fast' is not a valid float"),
        (("--budget-ms", "nan"), "--budget-ms nan is not allowed; give a number above 0"),
        (("--budget-mb", "-3"), "--budget-mb -3 is not allowed; give a number above 0"),
        (("--seconds", "0"), "--seconds 0 is not allowed; give a number above 0"),
        (("--scenario", "offline", "--budget-ms", "3"), "add --scenario single-stream"),
        (("--tasks", "1,ten"), "--tasks '1,ten' is not allowed; give numbers as in 1,10,100,1000"),
        (("--tasks", "0"), "--tasks '0' is not allowed"),
        (("--images", "nowhere"), "--images nowhere is not a folder"),
        (("--against", "nowhere.json"), "--against nowhere.json cannot be read"),
        (("--device", "abacus"), "device 'abacus' is not known"),
        (("--scenario", "triathlon"), "'triathlon' is not one of"),
    ],
)
def test_bad_options_are_one_sentence_and_write_nothing(golden, words, sentence, tmp_path):
    out = tmp_path / "out"
    done = run(golden, "--out", out, *words)
    assert done.exit_code in (1, 2)
    assert sentence in done.output
    assert "Traceback" not in done.output
    assert not out.exists()


def test_a_folder_without_images_and_a_broken_image_are_named(golden, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "notes.txt").write_text("none")
    assert "holds no image" in run(golden, "--images", tmp_path / "pictures").output
    (tmp_path / "pictures" / "part.png").write_bytes(b"not a picture")
    done = run(golden, "--images", tmp_path / "pictures")
    assert done.exit_code == 1
    assert "part.png cannot be read" in done.output


def test_what_is_no_bundle_is_one_sentence(tmp_path):
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "is not a bundle" in done.output


@pytest.mark.parametrize("place", ["taken/below", "taken", "folder.json"])
def test_a_place_that_cannot_be_written_is_said_before_measuring(golden, place, tmp_path):
    (tmp_path / "taken").write_text("somebody's file")
    (tmp_path / "folder.json").mkdir()
    done = run(golden, "--out", tmp_path / place)
    assert done.exit_code == 1
    assert "cannot be written" in done.output
    assert "measuring" not in done.output


@pytest.mark.usefixtures("few_starts")
def test_a_scenario_that_does_not_fit_is_an_error_alone_and_skipped_beside_others(
    golden, images, tmp_path
):
    shutil.rmtree(images / "green")
    shutil.rmtree(images / "blue")
    shutil.rmtree(images / "red" / "ground_truth")
    alone = run(golden, "--images", images, "--scenario", "switch")
    assert alone.exit_code == 1
    assert "needs frames of two products or more, and these show only red" in alone.output
    out = tmp_path / "two.json"
    words = ("--scenario", "switch", "--scenario", "single-stream", "--out", out)
    beside = run(golden, "--images", images, *words)
    assert beside.exit_code == 0, beside.output
    assert list(read_previous_report(out).report.skipped) == ["switch"]
    assert "Not measured" in beside.output
