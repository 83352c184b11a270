"""Pictures that nothing can be learned from are refused by name, before anything is written."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge.cli import main
from cad_edge.errors import DatasetError
from cad_edge.store.artifact import read_artifact
from cad_edge_training import learn
from cad_edge_training.methods import method_names
from tests.training.copied_products import COPIES, PARTS, levels, part, write_parts
from tests.training.small_products import write_product

QUICK = {"memories": "7x8", "keys": "8"}
SETTINGS = {"patch_memory": QUICK, "ib_iumad": {"modality": "rgb"}}
METHODS = [name for name in method_names() if name != "cl_anomaly"]  # has a backbone of its own


def save(folder, pictures):
    good = folder / "train/good"
    good.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(good / f"{number:02d}.png")
    return folder


def stream(folder, *names, **paths):
    tasks = [{"name": name, "path": paths.get(name, name)} for name in names]
    record = {"name": "line", "false_reject_rate": 0.2, "tasks": tasks}
    (folder / "line.json").write_text(json.dumps(record))
    return folder / "line.json"


def refused(products, out, words: str, method="patch_memory"):
    settings = SETTINGS.get(method, {})
    with pytest.raises(DatasetError) as found:
        learn(products, out, method, size=64, settings=settings)
    said = str(found.value)
    assert words in said and "\n" not in said and len(said) < 600
    return said


def flat(level, side=80):
    return np.full((side, side, 3), level, np.uint8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "pictures",
    [[flat(0)] * 8, [flat(130)] * 8, [flat(10 * number) for number in range(8)]],
    ids=["black", "equal", "of several levels"],
)
def test_constant_pictures(tmp_path, method, pictures):
    save(tmp_path / "cap", pictures)
    words = f"task cap: {tmp_path / 'cap/train/good/00.png'} and 7 more of 8 pictures"
    assert "show nothing" in refused(tmp_path / "cap", tmp_path / "out", words, method)
    assert not (tmp_path / "out").exists()


def test_black_pictures_of_a_noisy_sensor(tmp_path, rng):
    noisy = [rng.integers(0, 3, (80, 80, 3)).astype(np.uint8) for _ in range(8)]
    save(tmp_path / "cap", noisy)
    refused(tmp_path / "cap", tmp_path / "out", "show nothing")


def test_one_constant_picture_among_good_ones_is_named(tmp_path):
    folder = write_product(tmp_path, "waves", good=6)
    Image.fromarray(flat(128)).save(folder / "train/good/003.png")
    words = f"{folder / 'train/good/003.png'} of 6 pictures of good parts shows nothing"
    refused(folder, tmp_path / "out", words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", METHODS)
def test_copies_of_one_picture(tmp_path, method):
    save(tmp_path / "plate", [part(0)] * 30)
    words = (
        f"the 30 pictures of good parts in {tmp_path / 'plate/train/good'} show 1 part "
        "(train/good/01.png = train/good/00.png and 28 more); give pictures of at least 4"
    )
    refused(tmp_path / "plate", tmp_path / "out", words, method)
    assert not (tmp_path / "out").exists()


def test_copies_of_fewer_parts_than_it_takes(tmp_path):
    write_parts(tmp_path / "plate", "exact", "next frame", "encoded", parts=3)
    refused(tmp_path / "plate", tmp_path / "out", "the 12 pictures of good parts in")
    write_parts(tmp_path / "more", "exact", "next frame", "encoded", parts=4)
    result = learn(tmp_path / "more", tmp_path / "out", size=64, settings=QUICK)
    assert "more: learned from 4 good parts; 12 of 16 pictures are copies" in result.notes[-1]


def test_a_second_product_without_a_picture_leaves_the_first_whole(tmp_path):
    write_product(tmp_path, "waves", good=6)
    save(tmp_path / "cap", [flat(0)] * 6)
    arguments = ["--stream", str(stream(tmp_path, "waves", "cap")), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, ["train", *arguments, "--size", "64", "--set", "memories=7x8"])
    assert done.exit_code == 1 and "Error: task cap: " in done.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["waves"]
    assert read_artifact(tmp_path / "out/waves").artifact.provenance.images == 6


def test_one_product_under_two_names(tmp_path):
    write_parts(tmp_path / "plate", parts=5)
    write_parts(tmp_path / "other", parts=5)
    said = refused(
        stream(tmp_path, "plate", "other"),
        tmp_path / "out",
        "tasks plate and other have 5 pictures of good parts in common, for example "
        f"{tmp_path / 'other/train/good/00.png'} is {tmp_path / 'plate/train/good/00.png'}",
    )
    assert "give each its own images" in said and not (tmp_path / "out").exists()


def test_a_product_that_was_learned_under_another_name(tmp_path):
    write_parts(tmp_path / "plate", parts=5)
    write_parts(tmp_path / "other", "exact", parts=5)
    learn(tmp_path / "plate", tmp_path / "out", size=64, settings=QUICK)
    words = f"are the pictures that {tmp_path / 'out/plate'} was learned from"
    refused(tmp_path / "other", tmp_path / "out", words)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plate"]


def test_a_picture_in_two_products_is_named(tmp_path):
    write_parts(tmp_path / "plate", parts=5)
    write_parts(tmp_path / "other", parts=5, start=20)
    Image.fromarray(part(3)).save(tmp_path / "other/train/good/zz.png")
    result = learn(stream(tmp_path, "plate", "other"), tmp_path / "out", size=64, settings=QUICK)
    assert result.learned == ("plate", "other")
    (line,) = [line for line in result.notes if "in plate as well" in line]
    assert line.startswith("warning: other: 1 picture of good parts is in plate as well")
    assert (
        f"{tmp_path / 'other/train/good/zz.png'} is {tmp_path / 'plate/train/good/03.png'}" in line
    )


def test_train_says_how_many_parts_each_product_was_learned_from(tmp_path):
    write_product(tmp_path, "waves", good=6)
    write_parts(tmp_path / "plate", "exact", parts=PARTS)
    arguments = ["--stream", str(stream(tmp_path, "waves", "plate")), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(main, ["train", *arguments, "--size", "64", "--set", "memories=7x8"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "waves: learned from 6 good parts" in lines
    assert any(line.startswith("plate: learned from 15 good parts; 15 of 30") for line in lines)
    assert lines[-1] == f"learned 2 tasks into {tmp_path / 'o'}"


@pytest.mark.parametrize("change", ["encoded", "brighter frame"])
def test_near_copies_of_one_picture(tmp_path, rng, change):
    save(tmp_path / "plate", [COPIES[change](part(0), rng) for _ in range(12)])
    refused(tmp_path / "plate", tmp_path / "out", "show 1 part (")


def test_frames_that_differ_by_noise_are_named(tmp_path, rng):
    """They could be of one part, or of parts that do not vary."""
    save(tmp_path / "plate", [levels(part(0) + rng.normal(0, 3, (128, 128))) for _ in range(8)])
    result = learn(tmp_path / "plate", tmp_path / "out", size=64, settings=QUICK)
    said = "warning: plate: all good images differ by little more than noise"
    assert any(line.startswith(said) for line in result.notes)
    assert result.notes[-1] == "plate: learned from 8 good parts"
