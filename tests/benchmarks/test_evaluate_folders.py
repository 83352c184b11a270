"""`cad-edge evaluate` and `benchmark` on folders as people have them: right, or one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file

from cad_edge import cli
from cad_edge.errors import DatasetError
from cad_edge_benchmarks.instruments.frames import read_frames

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PLACES = (("train/good", "good"), ("test/good", "good"), ("test/square", "bad"))


@pytest.fixture
def line(tmp_path) -> Path:
    """The golden bundle, a product of its task red, and masks in black and white."""
    shutil.copytree(GOLDEN / "bundle", tmp_path / "bundle")
    frames = load_file(GOLDEN / "frames.safetensors")
    for place, kind in PLACES:
        (tmp_path / "red" / place).mkdir(parents=True)
        for number, frame in enumerate(frames[f"red.{kind}"]):
            Image.fromarray(frame).save(tmp_path / "red" / place / f"{number}.png")
    (tmp_path / "red/ground_truth/square").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(square()).save(tmp_path / f"red/ground_truth/square/{number}_mask.png")
    return tmp_path


def square(high: int = 255) -> np.ndarray:
    """(32, 32) uint8 mask of the defect of both images."""
    mask = np.zeros((32, 32), np.uint8)
    mask[8:14, 20:26] = high
    return mask


def run(line: Path, *options: object):
    call = ["evaluate", line / "bundle", "--stream", line / "red", *options]
    return CliRunner().invoke(cli.main, [str(one) for one in call])


def figures(line: Path) -> dict[str, float]:
    done = run(line, "--out", line / "out.json")
    assert done.exit_code == 0, done.stderr
    return json.loads((line / "out.json").read_text())["tasks"]["red"]


def refusal(line: Path) -> str:
    done = run(line, "--out", line / "out.json")
    assert done.exit_code == 1 and done.stdout == "" and not (line / "out.json").exists()
    (said,) = done.stderr.splitlines()
    assert said.startswith("Error: ")
    return said


def replace(line: Path, *images: Image.Image, name: str, **options: object) -> None:
    """Put other masks in the place of both."""
    masks = line / "red/ground_truth/square"
    for number in range(2):
        (masks / f"{number}_mask.png").unlink()
        for place, image in enumerate(images):
            path = masks / name.format(number=number, place=place)
            path.parent.mkdir(exist_ok=True)
            image.save(path, **options)


def test_numbers_of_images_are_printed(line):
    (line / "red/ground_truth/square/1_mask.png").unlink()
    assert "Images read: red 2 good and 2 defective (1 with a mask)." in run(line).stdout


def test_masks_in_jpeg_give_the_figures_of_those_in_png(line):
    before = figures(line)
    replace(line, Image.fromarray(square()), name="{number}_mask.jpg", quality=85)
    assert figures(line) == before


def test_drawn_in_black_on_nothing(line):
    before = figures(line)
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[..., 3] = square()
    replace(line, Image.fromarray(pixels), name="{number}.png")
    assert figures(line) == before


def test_several_masks_of_one_image_are_joined(line):
    before = figures(line)
    left, right = square(254), square(230)
    left[:, 23:], right[:, :23] = 0, 0
    parts = (Image.fromarray(left), Image.fromarray(right))
    replace(line, *parts, name="{number}/00{place}.png")
    assert figures(line) == before


def test_an_image_without_a_mask_is_no_background(line):
    """A defect that nobody drew is not counted as good pixels that were found defective."""
    before = figures(line)
    (line / "red/ground_truth/square/1_mask.png").unlink()
    found = figures(line)
    assert found["images_with_mask"] == 1
    for figure in ("pixel_auroc", "aupro"):
        assert found[figure] == pytest.approx(before[figure], abs=0.05)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (square(0), "1_mask.png cannot be used: it marks no pixel"),
        (255 - square(), "1_mask.png cannot be used: it marks 96.5 % of its image and spares"),
    ],
)
def test_empty_and_inverted_masks_are_refused_before_anything_is_inspected(
    line, mask, said, monkeypatch
):
    from cad_edge_runtime import Detector

    monkeypatch.setattr(Detector, "detect", lambda *_: pytest.fail("an image was inspected"))
    Image.fromarray(mask).save(line / "red/ground_truth/square/1_mask.png")
    assert said in refusal(line)


@pytest.mark.parametrize("name", ["Good", "OK", "normal"])
def test_good_parts_of_another_name_are_no_defects(line, name):
    (line / "red/test/good").rename(line / "red/test" / name)
    assert f"test/{name} would not count as good parts by its name; rename" in refusal(line)


def test_images_of_one_name_share_no_mask(line):
    shutil.copy(line / "red/test/square/0.png", line / "red/test/square/0.bmp")
    assert "0.png have one name, suffixes aside, and one mask" in refusal(line)


class TestBenchmarkFrames:
    def test_masks_are_no_frames(self, line):
        shown = read_frames(line / "red")
        assert shown.facts.found == 2 * len(PLACES)

    def test_hidden_files_and_heat_maps_are_no_frames(self, line):
        images = line / "red/test/square"
        (images / "._0.png").write_bytes(b"fork")
        call = ["detect", line / "bundle", images, "--task", "red", "--heatmaps", images / "maps"]
        assert CliRunner().invoke(cli.main, [str(one) for one in call]).exit_code == 0
        assert read_frames(images).facts.found == 2

    def test_links_are_followed(self, line):
        (line / "red/more").symlink_to(line / "red/test/good")
        (line / "red/up").symlink_to(line)
        (line / "far").mkdir()
        shutil.copy(line / "red/test/good/0.png", line / "far/x.png")
        (line / "red/far").symlink_to(line / "far")
        assert read_frames(line / "red").facts.found == 2 * len(PLACES) + 1

    def test_what_cannot_be_listed_is_named(self, line):
        (line / "red/cam2").symlink_to("unmounted")
        with pytest.raises(DatasetError, match="cam2 leads nowhere"):
            read_frames(line / "red")
