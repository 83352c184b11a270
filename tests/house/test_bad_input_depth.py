"""Bad depth on the device's command line: one sentence, and the bundle as it was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from cad_edge.store.bundle import Bundle
from tests.house.refusals import content, run, sentence
from tests.runtime.conftest import Workshop
from tests.runtime.golden_depth import give_depth, plane

pytestmark = pytest.mark.torchless

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def save(values: np.ndarray, path: Path) -> None:
    Image.fromarray(values.astype(np.float32)).save(path)


def of_another_size(path: Path) -> None:
    save(plane(500, 24), path)


def without_measurement(path: Path) -> None:
    save(np.zeros((32, 32)), path)


def in_metres(path: Path) -> None:
    save(plane(500) / 1000, path)


def with_nan(path: Path) -> None:
    save(np.where(plane(500) == 0, np.nan, plane(500)), path)


def negative(path: Path) -> None:
    save(-plane(500), path)


def a_picture(path: Path) -> None:
    Image.fromarray(np.full((32, 32, 3), 128, np.uint8)).save(path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = {
    of_another_size: "the depth is 24x24 px but the image is 32x32 px; register them to one size",
    without_measurement: "the depth holds no measurement, and task 'red' inspects depth as well",
    in_metres: "the depth lies around 0.5002, and that of task 'red' between 490 and 510; give it "
    "in the units and from the distance it was learned in",
    with_nan: "holds NaN or infinite values; save 0 where nothing was measured",
    negative: "holds the negative distance",
    a_picture: "but a picture of 8 bits; save the distances themselves",
    truncated: "cannot be read",
    dangling: "does not exist",
}


@pytest.fixture
def line(tmp_path) -> Path:
    """The golden bundle, whose task red needs depth, beside a stream of red in layout rgbd."""
    shutil.copytree(GOLDEN / "bundle", tmp_path / "bundle")
    give_depth(Workshop(Bundle(tmp_path / "bundle")), "red", stand_in=False)
    frames = load_file(GOLDEN / "frames.safetensors")
    for place, kind in (("train/good", "good"), ("test/good", "good"), ("test/square", "bad")):
        for part in ("rgb", "depth", "gt"):
            (tmp_path / "red" / place / part).mkdir(parents=True)
        for number, frame in enumerate(frames[f"red.{kind}"]):
            Image.fromarray(frame).save(tmp_path / "red" / place / f"rgb/{number}.png")
            save(plane(500), tmp_path / "red" / place / f"depth/{number}.tiff")
    tasks = [{"name": "red", "path": "red", "layout": "rgbd"}]
    record = {"name": "line", "false_reject_rate": 0.05, "tasks": tasks}
    (tmp_path / "stream.json").write_text(json.dumps(record))
    return tmp_path


def detect(line: Path) -> tuple[object, ...]:
    test = line / "red/test/good"
    return ("detect", line / "bundle", test / "rgb", "--depth", test / "depth")


def evaluate(line: Path) -> tuple[object, ...]:
    return ("evaluate", line / "bundle", "--stream", line / "stream.json")


def test_what_is_sound_is_answered(line):
    done = run(*detect(line))
    assert done.exit_code == 0 and len(done.stdout.splitlines()) == 2
    out = line / "out.json"
    done = run(*evaluate(line), "--out", out)
    assert done.exit_code == 0, done.output
    figures = json.loads(out.read_text())["tasks"]["red"]
    assert (figures["routing_normal"], figures["false_reject_rate"]) == (1.0, 0.0)
    assert (figures["images_normal"], figures["images_defective"]) == (2, 2)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_detect_names_the_image_and_inspects_the_others(line, damage):
    before = content(line / "bundle")
    damage(line / "red/test/good/depth/0.tiff")
    done = run(*detect(line))
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
    assert f"{line / 'red/test/good/rgb/0.png'}: " in done.stderr
    assert DAMAGES[damage] in done.stderr
    (record,) = [json.loads(said) for said in done.stdout.splitlines()]
    assert record["depth_used"] is True and record["path"].endswith("1.png")
    assert content(line / "bundle") == before


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_evaluate_names_the_image_and_writes_no_figures(line, damage):
    damage(line / "red/test/square/depth/1.tiff")
    said = sentence(*evaluate(line), "--out", line / "out.json")
    assert f"{line / 'red/test/square/rgb/1.png'}: " in said and DAMAGES[damage] in said
    assert not (line / "out.json").exists()


def test_counts_that_differ(line):
    (line / "red/test/good/depth/1.tiff").unlink()
    words = f"{line / 'red/test/good/rgb/1.png'}: task 'red' inspects depth as well; give depth="
    assert words in sentence(*detect(line))
    words = "rgb/1.png has no depth image in "
    assert words in sentence(*evaluate(line))
    save(plane(500), line / "red/test/good/depth/1.tiff")
    save(plane(500), line / "red/test/good/depth/2.tiff")
    assert "depth/2.tiff has no image (images: 2, depth files: 3)" in sentence(*detect(line))
    assert "depth/2.tiff has no rgb image" in sentence(*evaluate(line))


def test_a_stream_without_depth_for_a_task_that_needs_it(line):
    image = line / "flat/test/good/0.png"
    for place in ("train/good", "test/good"):
        (line / "flat" / place).mkdir(parents=True)
        shutil.copy(line / "red/test/good/rgb/0.png", line / "flat" / place / "0.png")
    tasks = [{"name": "red", "path": "flat"}]
    record = {"name": "line", "false_reject_rate": 0.05, "tasks": tasks}
    (line / "stream.json").write_text(json.dumps(record))
    assert f"{image}: task 'red' inspects depth as well; give" in sentence(*evaluate(line))


def test_depth_that_is_not_there(line):
    image = line / "red/test/good/rgb/0.png"
    said = sentence("detect", line / "bundle", image, "--depth", line / "nowhere.tiff")
    assert f"{line / 'nowhere.tiff'} does not exist" in said
    said = sentence("detect", line / "bundle", image.parent, "--depth", line / "nowhere")
    assert f"{line / 'nowhere'} is no folder, and there are 2 images" in said
