"""`cad-edge check`: what is printed, the report and the exit code."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from cad_edge.schema import parse_json
from cad_edge_training.check.findings import CheckReport
from tests.house.refusals import run, sentence
from tests.training.check_samples import encoded, stream_file, surface, write


@pytest.fixture
def place(tmp_path, rng) -> Path:
    """A sound product of ten images of good parts."""
    write(tmp_path / "plate/train/good", [surface(rng) for _ in range(10)])
    write(tmp_path / "plate/test/good", [surface(rng) for _ in range(2)])
    stream_file(tmp_path)
    return tmp_path


def check(place: Path, *options: object):
    return run("check", "--stream", place / "line.json", *options)


def test_a_sound_product(place):
    done = check(place, "--strict")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "Nothing is wrong in the images of 1 product."
    assert lines[2].split() == [
        "product",
        "good",
        "different",
        "groups",
        "test",
        "supported",
        "errors",
        "warnings",
    ]
    assert lines[3].split() == ["plate", "10", "10", "-", "2", "+", "0", "9.1", "%", "0", "0"]
    assert "where 20.0 % is stated." in lines[5]
    assert lines[7:9] == ["plate", "-----"]
    assert lines[9].startswith("note  No good image stands out; the oddest is train/good/0")


def test_errors_are_for_everybody_and_warnings_for_the_strict(place, rng):
    stream_file(place, rate=0.01)
    assert check(place).exit_code == 0
    assert check(place, "--strict").exit_code == 1
    learned = surface(rng)
    write(place / "plate/train/good", [learned], start=10)
    write(place / "plate/test/good", [encoded(learned)], start=2)
    done = check(place)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "1 error and 1 warning in the images of 1 product."
    assert lines[9].startswith(
        "error    1 test image is in training too (test/good/002.png is train/good/010.png)"
    )
    assert lines[10].startswith("warning  11 different good parts support")


def test_json_is_the_report(place):
    out = place / "new/check.json"
    assert check(place, "--out", out).exit_code == 0
    report = parse_json(CheckReport, out.read_bytes(), "check.json", ValueError)
    assert (report.kind, report.format, report.stream) == ("cad-edge check", 1, "line")
    (product,) = report.products
    assert (product.task, product.train, len(product.images)) == ("plate", 10, 12)
    assert json.loads(out.read_text())["products"][0]["findings"][0]["kind"] == "suspects"


def test_the_page_needs_nothing_beside_it(place, rng):
    (place / "plate/test/good/001.png").write_text("no image")
    write(place / "plate/train/good", [surface(rng)] * 2, start=10)
    write(place / "plate/test/scratch", [surface(rng)])
    write(place / "plate/ground_truth/scratch", [np.zeros((224, 224), np.uint8)])
    assert check(place, "--out", place / "report").exit_code == 1
    page = (place / "report/check.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert not re.search(r"https?://(?!www.w3.org)", page)
    for title in ("Files that give no image", "Copies among the good parts", "Masks that cannot"):
        assert title in page
    assert page.count('<span class="nothing"') == 1
    assert page.count("<img") > 12 + 2 + 5
    for said in ("error: ", "warning: "):
        assert f"* {said}" in (place / "report/check.md").read_text()
    assert "mean brightness of 12 images" in page


def test_names_are_escaped(place):
    for path in (place / "plate/train/good").glob("*.png"):
        path.rename(path.with_name(f'<b onload="x">{path.name}'))
    assert check(place, "--out", place / "report").exit_code == 0
    page = (place / "report/check.html").read_text()
    assert "<b onload" not in page and "&lt;b onload" in page


def test_a_stream_that_does_not_exist(tmp_path):
    said = sentence("check", "--stream", tmp_path / "nowhere.yaml")
    assert f"{tmp_path / 'nowhere.yaml'} cannot be read: No such file or directory" in said


def test_places_that_cannot_be_written(place):
    (place / "folder.json").mkdir()
    said = sentence("check", "--stream", place / "line.json", "--out", place / "folder.json")
    assert f"--out {place / 'folder.json'} cannot be written (" in said and "is a folder)" in said
    said = sentence("check", "--stream", place / "line.json", "--out", place / "line.json/x")
    assert f"({place / 'line.json'} is a file); give a folder, or a file ending in" in said


def test_old_options_write_where_the_new_one_would(place):
    done = check(place, "--json", place / "a/check.json", "--html", place / "b/check.html")
    assert done.exit_code == 0, done.output
    assert "Warning: --json is now --out; write --out" in done.stderr
    assert f"Warning: --html is now --out; write --out {place / 'b'}\n" in done.stderr
    assert {path.name for path in (place / "b").iterdir()} >= {"check.html", "check.json"}
    assert check(place, "--json", place / "a/check.json").exit_code == 0
    assert [path.name for path in (place / "a").iterdir()] == ["check.json"]


def test_an_empty_folder(tmp_path):
    (tmp_path / "plate/train/good").mkdir(parents=True)
    stream_file(tmp_path)
    done = check(tmp_path, "--out", tmp_path / "report")
    assert done.exit_code == 1
    assert "\nerror" in done.stdout
    assert "holds no images" in (tmp_path / "report/check.html").read_text()


@pytest.mark.parametrize("count", [1, 6])
def test_one_image_alone_and_equal_ones(tmp_path, rng, count):
    write(tmp_path / "plate/train/good", [surface(rng)] * count)
    stream_file(tmp_path)
    done = check(tmp_path, "--out", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "1 different good part support" in done.stdout
    assert ("6 of 6 good images show 1 picture" in done.stdout) == (count == 6)


def test_constant_images(tmp_path):
    write(tmp_path / "plate/train/good", [np.full((64, 64, 3), 9, np.uint8)] * 5)
    stream_file(tmp_path)
    done = check(tmp_path, "--out", tmp_path / "report")
    assert done.exit_code == 0 and "5 images of one value" in done.stdout
