"""Bad bundles on the device's command line: one sentence, exit status 1, nothing changed."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from cad_edge.store.bundle import Bundle
from tests.house.refusals import content, run, sentence

pytestmark = pytest.mark.torchless

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "bundle"
READERS = (
    ("tasks",),
    ("verify",),
    ("rollback",),
    ("gc",),
    ("threshold", "--task", "red", "--false-reject-rate", "0.1"),
)


@pytest.fixture
def bundle(tmp_path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "bundle"))


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (32, 32), (180, 40, 40)).save(path)
    return path


def last_graph(bundle: Path) -> Path:
    stage = Bundle(bundle).manifest().tasks["blue"].engine.stages[-1]
    return bundle / "objects" / stage.graph / "graph.onnx"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def other_format(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))


DAMAGES = {
    "flipped byte": (lambda bundle: flip(last_graph(bundle)), "graph.onnx changed"),
    "missing object": (lambda bundle: shutil.rmtree(last_graph(bundle).parent), "is missing"),
    "file too many": (
        lambda bundle: (last_graph(bundle).parent / "notes.txt").write_text("x"),
        "notes.txt does not belong there",
    ),
    "flipped manifest": (lambda bundle: flip(next(bundle.glob("manifests/*"))), "sha256"),
    "missing manifest": (lambda bundle: next(bundle.glob("manifests/*")).unlink(), "manifests"),
    "half a pointer": (
        lambda bundle: (bundle / "bundle.json").write_text('{"format":'),
        "bundle.json is not a JSON object",
    ),
    "other format": (lambda bundle: other_format(bundle / "bundle.json"), "has format 2"),
    "key too many": (
        lambda bundle: (bundle / "bundle.json").write_text('{"colour": 1}'),
        "bundle.json is not valid",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused_and_left_alone(bundle, picture, damage):
    change, words = DAMAGES[damage]
    change(bundle)
    before = content(bundle)
    for arguments in (("detect", bundle, picture), ("verify", bundle)):
        assert words in sentence(*arguments)
    assert content(bundle) == before


@pytest.mark.parametrize("arguments", READERS, ids=lambda words: words[0])
def test_a_file_is_not_a_bundle(tmp_path, picture, arguments):
    name, *rest = arguments
    said = sentence(name, picture, *rest)
    assert said.startswith(f"Error: {picture} is not a bundle (it is a file); give the folder")
    assert f"{tmp_path} is not a bundle (it has no" in sentence(name, tmp_path, *rest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picture.png"]


def test_bundle_and_image_swapped(bundle, picture):
    assert f"{picture} is not a bundle (it is a file)" in sentence("detect", picture, bundle)


def test_nothing_is_before_the_first_version(bundle):
    before = content(bundle)
    assert f"version 1 is the first of {bundle}" in sentence("rollback", bundle)
    assert f"{bundle} holds no version with the number 7; it holds 1" in sentence(
        "rollback", bundle, "--to", 7
    )
    assert content(bundle) == before


@pytest.mark.parametrize("keep", [0, -1])
def test_garbage_collection_must_keep_a_version(bundle, keep):
    before = content(bundle)
    assert f"--keep {keep} is not allowed; give 1 or more" in sentence("gc", bundle, "--keep", keep)
    assert content(bundle) == before


@pytest.mark.parametrize("rate", ["1", "inf", "-0.1", "20%"])
def test_rates_that_are_no_share(bundle, rate):
    before = content(bundle)
    said = sentence("threshold", bundle, "--task", "red", "--false-reject-rate", rate)
    assert "--false-reject-rate" in said
    assert content(bundle) == before


@pytest.mark.parametrize("name", ["trian", "--jsn"])
def test_misspelt_commands_and_options(name):
    said = sentence(name) if name == "trian" else sentence("tasks", ".", name)
    assert name in said


@pytest.mark.parametrize("words", [(), *((name,) for name in ("detect", "tasks", "gc", "verify"))])
def test_every_command_explains_itself(words):
    done = run(*words, "--help")
    assert done.exit_code == 0 and done.stdout.startswith("Usage: ")
