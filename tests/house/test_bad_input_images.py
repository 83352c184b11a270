"""Bad images and bad places to write on the device's command line."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.house.refusals import content, run, sentence

pytestmark = pytest.mark.torchless

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def half_jpeg(path: Path) -> None:
    with io.BytesIO() as file:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(
            file, "JPEG"
        )
        content = file.getvalue()
    path.write_bytes(content[: len(content) * 3 // 4] + b"\xff\xd9")


def invisible(path: Path) -> None:
    Image.new("RGBA", (32, 32), (200, 10, 10, 0)).save(path)


def strange(path: Path) -> None:
    Image.new("I", (32, 32), 7).save(path, "TIFF")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def speck(path: Path) -> None:
    Image.new("RGB", (1, 1)).save(path)


def huge(path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    truncated: "it is truncated",
    half_jpeg: "it is incomplete",
    invisible: "alpha 0 everywhere",
    strange: "has an unsupported pixel type: the sample format signed integers of 32 bits",
    pipe: "is a pipe, a socket or a device",
    speck: "is 1x1 px; give an image of at least 8 px",
    huge: "more than 89 megapixels; crop it",
    dangling: "does not exist",
    folder: "Is a directory",
}


@pytest.fixture
def line(tmp_path) -> Path:
    """The golden bundle beside a stream of its task red, with test images and masks."""
    shutil.copytree(GOLDEN / "bundle", tmp_path / "bundle")
    frames = load_file(GOLDEN / "frames.safetensors")
    mask = np.zeros((32, 32), np.uint8)
    mask[8:14, 20:26] = 255
    for place, kind in (("train/good", "good"), ("test/good", "good"), ("test/square", "bad")):
        (tmp_path / "red" / place).mkdir(parents=True)
        for number, frame in enumerate(frames[f"red.{kind}"]):
            Image.fromarray(frame).save(tmp_path / "red" / place / f"{number}.png")
    (tmp_path / "red/ground_truth/square").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(mask).save(tmp_path / f"red/ground_truth/square/{number}_mask.png")
    tasks = [{"name": "red", "path": "red"}]
    record = {"name": "line", "false_reject_rate": 0.05, "tasks": tasks}
    (tmp_path / "stream.json").write_text(json.dumps(record))
    return tmp_path


def evaluate(line: Path, *options: object) -> tuple[object, ...]:
    return ("evaluate", line / "bundle", "--stream", line / "stream.json", *options)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_detect_names_the_image_and_inspects_the_others(line, damage):
    path = line / "red/test/square/1.png"
    damage(path)
    done = run("detect", line / "bundle", path.parent)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["verdict"] == "anomalous"
    assert str(path) in done.stderr and DAMAGES[damage] in done.stderr
    assert len(done.stderr.splitlines()) == 1


LITTLE_MEMORY = """
import resource
import sys
from pathlib import Path
from cad_edge.cli import main
from cad_edge_runtime import Detector

opened = Detector.open

def open_with_little_memory(*given, **more):
    detector = opened(*given, **more)
    detector.detect(Path(first))
    lines = Path("/proc/self/status").read_text().splitlines()
    size = next(int(line.split()[1]) for line in lines if line.startswith("VmSize")) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20),) * 2)
    return detector

first = sys.argv.pop()
Detector.open = open_with_little_memory
main()
"""


def test_little_memory_ends_no_run_and_is_no_damage(line):
    """An image that takes more than the process may have stands between two that do not."""
    folder = line / "red/test/square"
    Image.new("RGB", (9000, 9000), (9, 9, 9)).save(folder / "0b.png", compress_level=1)
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, "detect", line / "bundle", folder, folder / "0.png"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert f"there is not enough memory to decode {folder / '0b.png'}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("damage", [truncated, speck, huge, dangling], ids=lambda one: one.__name__)
def test_evaluate_names_the_image_and_writes_no_figures(line, damage):
    path = line / "red/test/good/1.png"
    damage(path)
    said = sentence(*evaluate(line, "--out", line / "out.json"))
    assert str(path) in said and DAMAGES[damage] in said
    assert not (line / "out.json").exists()


def test_mask_of_another_size(line):
    path = line / "red/ground_truth/square/1_mask.png"
    Image.new("L", (50, 40)).save(path)
    said = sentence(*evaluate(line, "--out", line / "out.json"))
    assert f"the mask {path} is 50x40 px but its image is 32x32 px; give the mask" in said
    assert not (line / "out.json").exists()


def test_unreadable_mask(line):
    path = line / "red/ground_truth/square/0_mask.png"
    path.write_bytes(b"no image")
    assert f"{path} cannot be read" in sentence(*evaluate(line))


@pytest.mark.parametrize(
    ("place", "words"),
    [("stream.json/out.json", "stream.json is a file"), ("folder.json", "is a folder")],
)
def test_figures_that_could_not_be_written_are_refused_before_measuring(line, place, words):
    (line / "folder.json").mkdir()
    before = content(line)
    said = sentence(*evaluate(line, "--out", line / place))
    assert "--out" in said and words in said
    assert content(line) == before


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere.json", "cannot be read: No such file or directory; give a YAML or JSON stream"),
        ("nowhere", "does not exist; give a stream file, a product's folder or a folder of such"),
        ("bundle", "holds no product: neither train/good nor train/data nor folders with one"),
    ],
)
def test_stream_that_is_none(line, place, words):
    said = sentence("evaluate", line / "bundle", "--stream", line / place)
    assert f"{line / place} {words}" in said


def test_heat_maps_that_cannot_be_written(line):
    image = line / "red/test/square/0.png"
    call = ("detect", line / "bundle", image, "--task", "red", "--heatmaps")
    assert "is a file" in sentence(*call, image)
    assert f"{image / 'below'} cannot be made" in sentence(*call, image / "below")
    (line / "heat/0.png").mkdir(parents=True)
    assert f"{line / 'heat/0.png'} cannot be written: Is a directory" in sentence(
        *call, line / "heat"
    )
