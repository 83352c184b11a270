"""A whole product is looked at: with groups, without test images, and where its reader refuses."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from pathlib import Path

import numpy as np

from cad_edge.data.stream import read_stream
from cad_edge_training.backbones import load_backbone
from cad_edge_training.check.before_learning import survey
from cad_edge_training.check.product import CheckOptions, check_product
from tests.training.check_samples import encoded, stream_file, surface, write
from tests.training.small_products import quiet


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("efficientnet-lite0", 64)


@pytest.fixture
def place(tmp_path, rng) -> Path:
    """A product whose test holds a learned picture, with a mask that is empty."""
    good = [surface(rng) for _ in range(8)]
    write(tmp_path / "plate/train/good", good)
    write(tmp_path / "plate/test/good", [surface(rng), encoded(good[2])])
    write(tmp_path / "plate/test/scratch", [surface(rng)])
    write(tmp_path / "plate/ground_truth/scratch", [np.zeros((224, 224), np.uint8)])
    return tmp_path


def checked(place: Path, backbone, tests: bool = True, **task: object):
    stream = read_stream(stream_file(place, **task))
    options = CheckOptions(backbone, stream.false_reject_rate, tests)
    return check_product(stream.tasks[0], options, quiet)


def test_a_product(place, backbone):
    found = checked(place, backbone)
    assert [one.kind for one in found.findings] == ["leak", "mask", "suspects"]
    assert (found.train, found.distinct, found.test_good, found.test_defective) == (8, 8, 2, 1)
    assert found.groups is None and found.supported_rate == 1 / 9
    assert len(found.images) == 11
    first, last = found.images[0], found.images[-1]
    assert (first.part, first.label, first.width, first.mode) == ("train", "good", 224, "colour")
    assert first.suspicion is not None
    assert (last.part, last.label, last.suspicion) == ("test", "scratch", None)


def test_test_images_are_only_held_against_training_before_learning(place, backbone):
    (place / "plate/test/good/000.png").write_text("no image")
    found = checked(place, backbone, tests=False)
    assert [one.kind for one in found.findings] == ["leak", "suspects"]
    assert {image.part for image in found.images} == {"train"}


def test_nothing_about_good_parts_depends_on_test_images(place, backbone):
    before = checked(place, backbone)
    for path in (place / "plate/test").rglob("*.png"):
        path.unlink()
    after = checked(place, backbone)
    assert after.images == before.images[:8]
    assert [one for one in after.findings if one.kind == "suspects"] == [
        one for one in before.findings if one.kind == "suspects"
    ]


def test_groups_decide_how_many_parts_there_are(place, backbone):
    found = checked(place, backbone, rate=0.1, group={"pattern": "good/(00[0-3]|00)"})
    assert found.groups == 5
    assert [image.group for image in found.images[2:6]] == ["002", "003", "00", "00"]
    assert "5 groups support a false-reject rate of 16.7 %, and 10 % is stated" in (
        next(one.said for one in found.findings if one.kind == "too_few")
    )


def test_groups_that_fit_no_image_are_a_finding(place, backbone):
    found = checked(place, backbone, group={"pattern": "batch"})
    assert found.findings[1].kind == "folder" and found.groups is None
    assert "matches no image of good parts" in found.findings[1].said


def test_what_the_reader_refuses_is_said_and_good_parts_are_looked_at(place, backbone):
    write(place / "plate/ground_truth/scratch", [np.zeros((8, 8), np.uint8)], start=7)
    found = checked(place, backbone)
    assert (found.findings[0].kind, found.findings[0].level) == ("folder", "error")
    assert "007.png has no image; add the scratch image or remove it" in found.findings[0].said
    assert (found.train, found.test_good) == (8, 0)


def test_an_empty_folder(tmp_path, backbone):
    (tmp_path / "plate/train/good").mkdir(parents=True)
    found = checked(tmp_path, backbone)
    (said,) = found.findings
    assert (
        said.level == "error" and "holds no images; put the images of good parts there" in said.said
    )
    assert (found.train, found.distinct, found.supported_rate) == (0, 0, None)


def test_one_image_alone(tmp_path, rng, backbone):
    write(tmp_path / "plate/train/good", [surface(rng)])
    found = checked(tmp_path, backbone)
    assert [one.kind for one in found.findings] == ["too_few"]
    assert "1 different good part support" in found.findings[0].said


@pytest.mark.parametrize("level", [0, 255])
def test_constant_images(tmp_path, backbone, level):
    write(tmp_path / "plate/train/good", [np.full((64, 64, 3), level, np.uint8)] * 6)
    found = checked(tmp_path, backbone)
    assert [one.kind for one in found.findings] == ["copies", "blank", "too_few"]
    assert found.distinct == 1


def test_parts_in_several_views(tmp_path, rng, backbone):
    for number in range(5):
        front = surface(rng)
        write(tmp_path / f"plate/train/good/{number}", [front, encoded(front)])
    found = checked(tmp_path, backbone, views=2)
    assert (found.train, found.supported_rate) == (10, 1 / 6)
    assert "copies" not in {one.kind for one in found.findings}


def test_lines_before_learning(place):
    stream = read_stream(stream_file(place))
    lines = survey(stream.tasks, 0.01).lines
    assert len(lines) == 2
    assert lines[0].startswith("error: plate: 1 test image is in training too")
    assert lines[1].startswith("warning: plate: 8 different good parts support")
    (place / "plate/train/good/001.png").write_text("no image")
    assert any("cannot be read" in line for line in survey(stream.tasks, 0.2).lines)


def test_learning_goes_on_whatever_happens_to_the_check(place, monkeypatch):
    def broken(seen, options):
        raise RuntimeError("no such finding")

    monkeypatch.setattr("cad_edge_training.check.before_learning.judged", broken)
    stream = read_stream(stream_file(place))
    lines = survey(stream.tasks, 0.2).lines
    assert lines == ("the images were not all checked: no such finding",)
