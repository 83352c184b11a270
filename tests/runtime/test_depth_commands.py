"""The command line on a bundle that looks at depth: files, thresholds, versions."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge import cli
from cad_edge.calibration import decide
from cad_edge.heatmap import overlay
from cad_edge.store.bundle import Bundle
from cad_edge_runtime.commands import map_scale
from tests.runtime.golden_depth import SCORES, give_depth, plane

pytestmark = pytest.mark.torchless


@pytest.fixture
def run():
    """Call the command line with arguments of any kind."""
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.main, [str(one) for one in arguments])


@pytest.fixture
def place(tmp_path, frames):
    """Folders `rgb` and `depth` with two parts of `red`, and `rgb` with one of `blue` besides."""
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    for number, kind in enumerate(("good", "bad")):
        Image.fromarray(frames[f"red.{kind}"][0]).save(tmp_path / f"rgb/{number}.png")
        Image.fromarray(plane(500).astype(np.uint16)).save(tmp_path / f"depth/{number}.tiff")
    Image.fromarray(frames["blue.good"][0]).save(tmp_path / "rgb/blue.png")
    return tmp_path


@pytest.fixture
def needing(workshop):
    give_depth(workshop, "red", stand_in=False)


@pytest.fixture
def sparing(workshop):
    return give_depth(workshop, "red", stand_in=True)


def failed(result, words: str) -> bool:
    """One sentence on the error output, nothing else, exit status 1."""
    lines = result.stderr.splitlines()
    assert result.exit_code == 1 and len(lines) == 1 and lines[0].startswith("Error: "), lines
    assert isinstance(result.exception, SystemExit)
    return words in lines[0]


def used(result) -> dict[str, bool | None]:
    records = [json.loads(line) for line in result.stdout.splitlines()]
    return {record["path"].rpartition("/")[2]: record["depth_used"] for record in records}


def test_a_folder_of_depth_belongs_to_images_by_their_names(run, bundle, place, needing):
    result = run("detect", bundle, place / "rgb", "--depth", place / "depth")
    assert result.exit_code == 0 and result.stderr == ""
    assert used(result) == {"0.png": True, "1.png": True, "blue.png": False}
    score = json.loads(result.stdout.splitlines()[0])["score"]
    assert score == pytest.approx(float(plane(500).astype(np.uint16).mean()), rel=1e-6)


def test_a_file_of_depth_belongs_to_one_image(run, bundle, place, needing):
    call = ("detect", bundle, place / "rgb/0.png", "--depth", place / "depth/1.tiff")
    assert used(run(*call)) == {"0.png": True}
    refused = run("detect", bundle, place / "rgb/0.png", "--depth", place / "depth")
    assert failed(refused, "1.tiff has no image (images: 1, depth files: 2); give the image")
    refused = run("detect", bundle, place / "rgb", "--depth", place / "depth/0.tiff")
    assert failed(refused, "0.tiff is no folder, and there are 3 images; give a folder of depth")


def test_an_image_without_depth_is_refused_by_name_and_the_others_are_inspected(
    run, bundle, place, needing
):
    (place / "depth/1.tiff").unlink()
    result = run("detect", bundle, place / "rgb", "--depth", place / "depth")
    assert failed(result, f"{place / 'rgb/1.png'}: task 'red' inspects depth as well; give ")
    assert used(result) == {"0.png": True, "blue.png": False}


def test_an_image_without_depth_is_answered_by_the_stand_in(run, bundle, place, sparing):
    (place / "depth/1.tiff").unlink()
    result = run("detect", bundle, place / "rgb", "--depth", place / "depth")
    assert result.exit_code == 0 and result.stderr == ""
    assert used(result) == {"0.png": True, "1.png": False, "blue.png": False}
    assert used(run("detect", bundle, place / "rgb")) == dict.fromkeys(used(result), False)


def test_a_heat_map_has_the_scale_of_what_answered(run, bundle, place, sparing, frames, detector):
    run("detect", bundle, place / "rgb/1.png", "--heatmaps", place / "heat")
    drawn = np.asarray(Image.open(place / "heat/1.png"))
    image = frames["red.bad"][0]
    anomaly_map = detector.detect(image).anomaly_map
    scale = map_scale(sparing.before)
    assert scale != map_scale(sparing.after)
    np.testing.assert_array_equal(drawn, overlay(image, anomaly_map, *scale))


@pytest.fixture
def detector(bundle):
    from cad_edge_runtime import Detector

    with Detector.open(bundle, threads=1, watch=False) as opened:
        yield opened


def test_depth_that_belongs_to_no_image(run, bundle, place, needing):
    (place / "depth/0.tiff").rename(place / "depth/a.tiff")
    result = run("detect", bundle, place / "rgb", "--depth", place / "depth")
    assert failed(result, f"{place / 'depth/a.tiff'} has no image (images: 3, depth files: 2); ")
    assert result.stdout == ""


def test_names_that_do_not_tell_which_depth_is_meant(run, bundle, place, needing):
    (place / "rgb/sub").mkdir()
    (place / "rgb/0.png").rename(place / "rgb/sub/0.png")
    Image.open(place / "rgb/1.png").save(place / "rgb/0.png")
    result = run("detect", bundle, place / "rgb", "--depth", place / "depth")
    assert failed(result, f"{place / 'rgb/0.png'} and {place / 'rgb/sub/0.png'} have one name")
    (place / "rgb/sub/0.png").unlink()
    Image.open(place / "depth/0.tiff").save(place / "depth/0.png")
    result = run("detect", bundle, place / "rgb", "--depth", place / "depth")
    assert failed(result, f"{place / 'depth/0.png'} and {place / 'depth/0.tiff'} have one name")


def test_one_image_may_be_given_twice(run, bundle, place, needing):
    image = place / "rgb/0.png"
    (place / "depth/1.tiff").unlink()
    result = run("detect", bundle, image, image, "--depth", place / "depth")
    assert len(result.stdout.splitlines()) == 2 and used(result) == {"0.png": True}


def test_tasks_list_what_answers_which_frames(run, bundle, sparing):
    rows = json.loads(run("tasks", bundle, "--json").stdout)
    assert [(row["task"], row["frames"]) for row in rows] == [
        ("red", "with-depth"),
        ("red", "without-depth"),
        ("green", "all"),
        ("blue", "all"),
    ]
    assert rows[1]["threshold"] == sparing.before.decision.threshold != rows[0]["threshold"]
    table = run("tasks", bundle).stdout.splitlines()
    assert table[0].endswith("version 2, 3 tasks, unsigned") and len(table) == 6


RATE = ("--task", "red", "--false-reject-rate")


@pytest.mark.parametrize("frames", ["all", "with-depth", "without-depth"])
def test_a_rate_is_stated_for_frames_with_depth_without_or_both(run, bundle, sparing, frames):
    result = run("threshold", bundle, *RATE, "0.2", "--minimum-area", 9, "--frames", frames)
    assert result.exit_code == 0, result.output
    entry = Bundle(bundle).manifest().tasks["red"]
    moved = [entry.decision != sparing.after.decision]
    moved.append(entry.without_depth.decision != sparing.before.decision)
    assert moved == [frames != "without-depth", frames != "with-depth"]
    for place, one in enumerate((entry, entry.without_depth)):
        if moved[place]:
            assert one.decision == decide(one.calibration, 0.2, 9)
    lines = result.stdout.splitlines()
    said = [line.partition(":")[0] for line in lines[::2]]
    wanted = ["red with depth"] * moved[0] + ["red without depth"] * moved[1]
    assert said == wanted and all("there are 40: the rate holds" in line for line in lines[1::2])
    assert run("verify", bundle).exit_code == 0


def test_a_rate_that_names_no_frames_is_for_all(run, bundle, sparing, place):
    run("threshold", bundle, *RATE, "0.5")
    entry = Bundle(bundle).manifest().tasks["red"]
    assert entry.decision.threshold == sorted(SCORES)[20]
    assert entry.without_depth.decision == decide(sparing.before.calibration, 0.5)
    image = place / "rgb/0.png"
    record = json.loads(run("detect", bundle, image).stdout)
    assert record["threshold"] == entry.without_depth.decision.threshold


def test_a_rate_for_frames_that_nothing_answers(run, bundle, needing):
    before = (bundle / "bundle.json").read_bytes()
    call = ("threshold", bundle, *RATE, "0.2", "--frames")
    assert failed(run(*call, "without-depth"), "nothing in the bundle answers frames of red with")
    call = ("threshold", bundle, "--task", "blue", "--false-reject-rate", "0.2", "--frames")
    assert failed(run(*call, "with-depth"), "blue is not inspected by its depth")
    assert (bundle / "bundle.json").read_bytes() == before


def test_a_task_with_depth_alone_has_one_threshold(run, bundle, needing):
    result = run("threshold", bundle, *RATE, "0.2", "--frames", "with-depth")
    assert result.stdout.startswith("red: threshold 504.") and len(result.stdout.split("\n")) == 3


def test_verify_looks_at_the_graphs_of_stand_ins(run, bundle, workshop, sparing):
    assert run("verify", bundle).exit_code == 0
    sha = workshop.store.add_object({"graph.onnx": b"no graph"})
    stage = sparing.before.engine.stages[1].model_copy(update={"graph": sha})
    stages = [sparing.before.engine.stages[0], stage]
    engine = sparing.before.engine.model_copy(update={"stages": stages})
    spare = sparing.before.model_copy(update={"engine": engine})
    workshop.change_task("red", lambda one: one.model_copy(update={"without_depth": spare}))
    assert failed(run("verify", bundle), "graph.onnx")


def test_one_command_rolls_back_and_gc_keeps_stand_ins(run, bundle, workshop, place, sparing):
    workshop.change_task("red", lambda one: one.model_copy(update={"without_depth": None}))
    assert failed(run("detect", bundle, place / "rgb/0.png"), "inspects depth as well")
    assert run("gc", bundle, "--keep", 2).exit_code == 0
    assert run("rollback", bundle).exit_code == 0
    assert used(run("detect", bundle, place / "rgb/0.png")) == {"0.png": False}
    assert run("gc", bundle, "--keep", 1).exit_code == 0
    assert run("verify", bundle).exit_code == 0
    assert used(run("detect", bundle, place / "rgb/0.png")) == {"0.png": False}
