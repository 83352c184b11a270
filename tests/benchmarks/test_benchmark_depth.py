"""`cad-edge benchmark` on a bundle that looks at depth."""

import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge.cli import main
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.benchmark.comparison import read_previous_report
from cad_edge_benchmarks.instruments.frames import DEPTH_NOTE
from tests.benchmarks.test_benchmark_versions import contents
from tests.runtime.conftest import Workshop
from tests.runtime.golden_depth import give_depth, plane

QUICK = ("--seconds", "0.05", "--threads", "1", "--device", "cpu")


@pytest.fixture
def needing(golden):
    """Its task `red` needs depth."""
    give_depth(Workshop(Bundle(golden)), "red", stand_in=False)
    return golden


@pytest.fixture
def shown(tmp_path, products):
    """Folders of images of all products, most of `red`, and of depth for those."""
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    for name, product in products.items():
        for number, frame in enumerate(product[: 3 if name == "red" else 2]):
            Image.fromarray(frame.image).save(tmp_path / f"rgb/{name}-{number}.png")
    for number in range(3):
        Image.fromarray(plane(500)).save(tmp_path / f"depth/red-{number}.tiff")
    return tmp_path


@pytest.fixture(autouse=True)
def few_starts(monkeypatch):
    """Device processes take a third of a second each."""
    monkeypatch.setattr("cad_edge_benchmarks.benchmark.scenarios.STARTS", 1)
    monkeypatch.setattr("cad_edge_benchmarks.benchmark.scenarios.FEW_STARTS", 1)


def run(bundle, *words):
    return CliRunner().invoke(main, ["benchmark", str(bundle), *QUICK, *map(str, words)])


@pytest.mark.parametrize("source", ["synthetic", "images"])
def test_every_scenario_shows_depth(needing, shown, source):
    before, out = contents(needing), shown / "report.json"
    words = ["--scenario", "all", "--tasks", "2,4", "--out", out]
    if source == "images":
        words += ["--images", shown / "rgb", "--depth", shown / "depth"]
    done = run(needing, *words)
    assert done.exit_code == 0, done.output
    report = read_previous_report(out).report
    assert len(report.scenarios) == 8 and report.skipped == {}
    assert report.frames.note.endswith(DEPTH_NOTE) is (source == "synthetic")
    (hot,) = [one for one in report.scenarios if one.scenario == "hot-load"]
    lost = {one.name: one.value for one in hot.figures}["frames lost"]
    assert lost == 0
    assert contents(needing) == before


def test_images_without_depth_are_refused_before_anything_is_measured(needing, shown):
    done = run(needing, "--images", shown / "rgb", "--out", shown / "report.json")
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.exit_code == 1 and len(errors) == 1
    assert f"{shown / 'rgb/red-0.png'}: task 'red' inspects depth as well" in errors[0]
    assert "measuring" not in done.stderr and not (shown / "report.json").exists()


def test_depth_without_images(needing, shown):
    done = run(needing, "--depth", shown / "depth")
    assert done.exit_code == 1 and "give --images, or leave it out" in done.stderr


def test_synthetic_frames_of_a_bundle_that_looks_at_images_have_no_depth(golden, shown):
    out = shown / "report.json"
    assert run(golden, "--out", out).exit_code == 0
    assert DEPTH_NOTE not in read_previous_report(out).report.frames.note


def test_a_plane_of_another_product_is_not_what_memory_is_measured_with(needing, shown):
    """The first image shows `blue`, and has no depth at all; every task is judged once."""
    (shown / "one").mkdir()
    (shown / "rgb/blue-0.png").rename(shown / "one/blue.png")
    done = run(needing, "--images", shown / "one", "--scenario", "cold-start")
    assert done.exit_code == 0, done.output
