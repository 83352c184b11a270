"""Bad input to `cad-edge train` and `cad-edge export` that is told before anything is learned."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.routing import summarise
from cad_edge.schema import parse_json
from cad_edge.store.artifact import Artifact, write_artifact
from tests.house.refusals import content, sentence

pytest.importorskip("torch")

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
LITE0 = "efficientnet-lite0"


def write_task(folder: Path, name: str, backbone: str = "golden", side: int = 32) -> Path:
    """Write an artifact that nothing was learned for: it is read, compared and refused."""
    data = (GOLDEN / "artifact.json").read_bytes()
    sample = parse_json(Artifact, data, "artifact.json", ValueError)
    record = sample.model_copy(
        update={
            "task": name,
            "backbone": sample.backbone.model_copy(update={"id": backbone}),
            "recipe": sample.recipe.model_copy(update={"width": side, "height": side}),
        }
    )
    tensors = {"bank": np.zeros((2, 3), np.float32)}
    shown = np.random.default_rng(0).normal(size=(8, 4))
    routing = summarise(shown, np.zeros((1, 2), np.float32), np.ones(8, np.float32)).to_tensors()
    return write_artifact(folder, record, tensors, routing, tensors)


@pytest.fixture
def place(tmp_path) -> Path:
    """A product of four grey images and a stream of it."""
    (tmp_path / "red/train/good").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (64, 64), (number, 90, 90)).save(tmp_path / f"red/train/good/{number}.png")
    write_stream(tmp_path, {"name": "red", "path": "red"})
    return tmp_path


def write_stream(folder: Path, *tasks: dict[str, object], rate: object = 0.2) -> None:
    record = {"name": "line", "false_reject_rate": rate, "tasks": tasks}
    (folder / "stream.json").write_text(json.dumps(record))


def train(place: Path, *options: object, out: str = "out") -> str:
    """Sentence with which learning is refused; what is on the disk must not change."""
    before = content(place)
    words = ("--stream", place / "stream.json", "--out", place / out, "--size", 64, *options)
    said = sentence("train", *words)
    assert content(place) == before
    return said


def export(place: Path, bundle: str = "bundle") -> str:
    before = content(place)
    said = sentence("export", place / "artifacts", "--bundle", place / bundle)
    assert content(place) == before
    return said


def test_image_behind_a_dangling_link_is_not_passed_over(place):
    path = place / "red/train/good/9.png"
    path.symlink_to("nowhere")
    assert f"{path} does not exist" in train(place)


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({"pattern": "^batch"}, "task blue: the pattern '^batch' of `group` matches no image"),
        ({"pattern": "train"}, "task blue: `group` puts all 4 images of good parts into one group"),
        ({"table": "gone.csv"}, "gone.csv cannot be read: No such file"),
        ({"table": "short.csv"}, "short.csv lacks train/good/1.png (and 2 more)"),
        ("folder", "train/good/0.png (and 3 more) lies in no sub-folder"),
        ("files", "stream.json is not a valid stream file: tasks.1.group: 'files' is no rule"),
        ({"pattern": "("}, "'(' is no regular expression"),
    ],
)
def test_groups_that_are_not_told(place, group, said):
    """Of the second task, before the first is learned."""
    shutil.copytree(place / "red", place / "blue")
    (place / "short.csv").write_text("file,group\ntrain/good/0.png,1\n")
    red = {"name": "red", "path": "red"}
    write_stream(place, red, {"name": "blue", "path": "blue", "group": group})
    assert said in train(place)


@pytest.mark.parametrize("out", ["stream.json", "stream.json/out"])
def test_file_in_the_place_of_the_artifacts(place, out):
    assert f"{place / 'stream.json'} is a file; give --out a folder" in train(place, out=out)


def test_a_bundle_in_the_place_of_the_artifacts(place):
    (place / "out").mkdir()
    (place / "out/bundle.json").write_text("{}")
    assert "out is a bundle; give --out a folder of its own" in train(place)


def test_folder_of_others_with_the_name_of_a_task(place):
    (place / "out/red").mkdir(parents=True)
    assert f"{place / 'out/red'} is there but holds no artifact" in train(place)


@pytest.mark.parametrize("seed", [-1, 2**32, "one"])
def test_seed_that_is_none(place, seed):
    assert "'--seed'" in train(place, "--seed", seed)


def test_option_given_twice(place):
    said = train(place, "--set", "keys=8", "--set", "keys=9")
    assert "--set keys is given twice; keep one of them" in said


def test_folder_of_a_backbone_that_is_missing(place):
    said = train(place, "--backbone", f"clip:{place / 'nowhere'}")
    assert f"{place / 'nowhere'} cannot be loaded: it is not a folder; check the path" in said


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"name": "a/b", "path": "red"}, "tasks.0.name: 'a/b' is not allowed; use up to 64"),
        ({"name": "a", "path": "red", "layuot": "mvtec"}, "tasks.0.layuot: there is no such key"),
        (
            {"name": "a", "path": "red", "layout": "mvtek"},
            "'rgbd', 'mvtec3d', 'eyecandies' or 'instruction'",
        ),
    ],
)
def test_mistakes_in_a_stream_name_the_key(place, task, words):
    write_stream(place, task)
    assert words in train(place)


@pytest.mark.parametrize("rate", [0, 1, "20%"])
def test_stream_with_a_rate_that_is_no_share(place, rate):
    write_stream(place, {"name": "red", "path": "red"}, rate=rate)
    assert "stream.json is not a valid stream file: false_reject_rate" in train(place)


def test_empty_stream_file(place):
    (place / "stream.json").write_text("null")
    assert "it is not a mapping of keys to values" in train(place)


def test_export_without_artifacts(place):
    assert "artifacts is not a folder of artifacts; learn tasks into it first" in export(place)
    (place / "artifacts").mkdir()
    assert "holds no artifact; run `cad-edge train --out" in export(place)
    (place / "artifacts/bundle.json").write_text("{}")
    assert "artifacts is a bundle; give the folder of artifacts" in export(place)


def test_two_artifacts_of_one_task(place):
    first = write_task(place / "artifacts", "red")
    shutil.copytree(first, place / "artifacts/rot")
    assert f"{first} and {place / 'artifacts/rot'} both hold the task red" in export(place)


def test_task_name_that_the_bundle_holds_already(place):
    shutil.copytree(GOLDEN / "bundle", place / "bundle")
    write_task(place / "artifacts", "red")
    assert "holds another task red already; learn this one under another name" in export(place)


def test_artifact_of_another_backbone_than_the_bundle(place):
    shutil.copytree(GOLDEN / "bundle", place / "bundle")
    write_task(place / "artifacts", "amber", backbone=LITE0)
    said = export(place)
    assert f"task amber was learned on {LITE0}" in said and "a bundle of its own" in said


def other_format(folder: Path) -> None:
    path = folder / "artifact.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))


DAMAGES = {
    "other format": (other_format, "artifact.json has format 2, this version reads format 1"),
    "half a record": (
        lambda folder: (folder / "artifact.json").write_text('{"format": 1,'),
        "artifact.json is not a JSON object; learn the task again",
    ),
    "missing tensors": (
        lambda folder: (folder / "tensors.safetensors").unlink(),
        "tensors.safetensors cannot be read: No such file or directory; copy the artifact again",
    ),
    "half the tensors": (
        lambda folder: (folder / "tensors.safetensors").write_bytes(b"\x40\0\0"),
        "tensors.safetensors is not what artifact.json beside it says; copy the artifact again",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_artifact_makes_no_bundle(place, damage):
    change, words = DAMAGES[damage]
    change(write_task(place / "artifacts", "red"))
    assert words in export(place)
    assert not (place / "bundle").exists()


@pytest.mark.parametrize("bundle", ["stream.json", "stream.json/bundle"])
def test_file_in_the_place_of_the_bundle(place, bundle):
    write_task(place / "artifacts", "red")
    assert f"{place / bundle} cannot be written to: Not a directory" in export(place, bundle)


def test_learning_at_another_size_than_before(place):
    from cad_edge_training.backbones import load_backbone

    identity = load_backbone(LITE0, 64).identity
    path = write_task(place / "out", "blue", LITE0, side=128) / "artifact.json"
    record = json.loads(path.read_text()) | {"backbone": identity.model_dump()}
    del record["sha256"]  # as before there were any
    path.write_text(json.dumps(record))
    assert "blue was learned at 128x128 px, not at 64x64 px" in train(place)


def test_clip_and_sam_of_another_architecture(place, tmp_path_factory):
    pytest.importorskip("transformers")
    from tests.training.tiny_models import save_clip

    for path in (place / "red/train/good").glob("*.png"):
        shown = np.random.default_rng(int(path.stem)).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(shown).save(path)
    clip = save_clip(tmp_path_factory.mktemp("models") / "clip")
    words = ("--method", "cmpmb", "--backbone", f"clip:{clip}")
    said = train(place, *words, "--set", f"regions=sam:{clip}")
    assert "holds a clip model; give one of type sam" in said
    config = clip / "config.json"
    config.write_text(config.read_text().replace('"projection_dim": 24', '"projection_dim": 48'))
    assert "holds weights of another architecture: " in train(place, *words)
