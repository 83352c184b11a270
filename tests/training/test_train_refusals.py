"""Bad input to `cad-edge train`: one sentence, a non-zero exit, nothing half-written."""

import json
import os

import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge.cli import main
from cad_edge.store.artifact import list_artifacts
from cad_edge_training.methods import method_names
from tests.training.small_products import stream_of, write_product
from tests.training.tiny_models import save_clip, save_dinov2


@pytest.fixture
def product(tmp_path):
    write_product(tmp_path, "stripes", good=4, test=1)
    stream_of(tmp_path, ("stripes",))
    return tmp_path


def train(folder, *options, stream="stripes.json", out="out"):
    arguments = ["train", "--stream", str(folder / stream), "--out", str(folder / out)]
    return CliRunner().invoke(main, [*arguments, "--size", "64", *options])


def refused(folder, words: str, *options, **places) -> None:
    done = train(folder, *options, **places)
    assert done.exit_code != 0 and words in done.output, done.output
    errors = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.output
    out = folder / "out"
    assert not out.exists() or not any(out.iterdir())


def test_the_command_learns(product):
    done = train(product, "--set", "memories=7x8")
    assert done.exit_code == 0, done.output
    assert "learned 1 task into" in done.output
    assert [path.name for path in list_artifacts(product / "out")] == ["stripes"]
    again = train(product, "--set", "memories=7x8")
    assert again.exit_code == 0 and "1 were there already" in again.output


def test_misspelt_option_is_refused_and_the_right_ones_are_named(product):
    refused(product, "--set memroies: patch_memory has no such option", "--set", "memroies=7x8")
    assert "memories" in train(product, "--set", "memroies=7x8").output


@pytest.mark.parametrize(
    "setting",
    [
        *("memories=7x0", "memories=7", "memories=7+4x8", "memories=7@2x8", "memories="),
        *("shrinkage=0", "smoothing=-1", "keys=many", "statistics_rank=0", "statistics_blocks=a"),
    ],
)
def test_value_that_is_not_allowed_is_refused(product, setting):
    refused(product, f"--set {setting.partition('=')[0]}", "--set", setting)


@pytest.mark.parametrize("setting", ["memories", "=8", ""])
def test_setting_without_name_and_value_is_refused(product, setting):
    refused(product, "NAME=VALUE", "--set", setting)


def test_block_beyond_the_trunk_is_refused(product):
    refused(product, "block 99 is not in efficientnet-lite0", "--set", "memories=4+99x8")


def test_options_that_do_not_fit_together_are_refused(product):
    refused(product, "--set: two memories have the same blocks", "--set", "memories=7x8,7x4")


def test_unknown_method_and_backbone_are_refused(product):
    refused(
        product,
        f"method 'patchcore' is unknown; take one of {', '.join(method_names())}",
        "--method",
        "patchcore",
    )
    refused(product, "backbone 'resnet50' is unknown", "--backbone", "resnet50")
    refused(product, "cannot be loaded", "--backbone", f"clip:{product / 'nowhere'}")


def test_backbone_of_another_kind_is_refused(product):
    save_clip(product / "tiny-clip")
    refused(product, "give one of type dinov2", "--backbone", f"dinov2:{product / 'tiny-clip'}")


def test_artifacts_of_another_backbone_are_refused(product):
    assert train(product, "--set", "memories=7x8").exit_code == 0
    before = sorted(path.name for path in (product / "out").iterdir())
    save_dinov2(product / "tiny-dinov2")
    done = train(product, "--backbone", f"dinov2:{product / 'tiny-dinov2'}", "--size", "70")
    assert done.exit_code == 1 and "give --out another folder" in done.output
    assert "efficientnet-lite0" in done.output and "dinov2:tiny-dinov2" in done.output
    assert sorted(path.name for path in (product / "out").iterdir()) == before


def test_size_that_does_not_fit_the_patches_is_refused(product):
    save_dinov2(product / "tiny-dinov2")
    refused(product, "size 64 does not fit", "--backbone", f"dinov2:{product / 'tiny-dinov2'}")


def test_empty_and_missing_good_parts_are_refused(product):
    good = product / "stripes/train/good"
    for path in good.iterdir():
        path.unlink()
    refused(product, f"{good} holds no images")
    good.rmdir()
    refused(product, f"{good} does not exist")


@pytest.mark.parametrize("damage", ["garbage", "truncated", "speck", "huge"])
def test_image_that_cannot_be_used_is_named(product, damage):
    path = product / "stripes/train/good/002.png"
    if damage == "garbage":
        path.write_bytes(b"\x89PNG and no more")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-600])
    elif damage == "speck":
        Image.new("RGB", (1, 1)).save(path)
    else:
        Image.new("1", (20_000, 10_000)).save(path)
    refused(product, str(path))


def test_image_without_permission_is_named(product):
    path = product / "stripes/train/good/001.png"
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads everything")
    refused(product, str(path))


def test_too_few_images_are_refused_with_the_number_needed(product):
    (product / "stripes/train/good/003.png").unlink()
    refused(product, "3 images of good parts are too few")
    assert "at least 4" in train(product).output


def test_tasks_before_a_bad_one_are_kept(product):
    write_product(product, "waves", good=4, test=1)
    stream_of(product, ("stripes", "waves"))
    (product / "waves/train/good/000.png").write_bytes(b"")
    done = train(product, "--set", "memories=7x8", stream="stripes-waves.json")
    assert done.exit_code == 1 and "waves/train/good/000.png" in done.output
    assert [path.name for path in (product / "out").iterdir()] == ["stripes"]


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([{"name": "a/b", "path": "stripes"}], "tasks.0.name"),
        ([{"name": "a", "path": "stripes"}, {"name": "a", "path": "."}], "a"),
        ([{"name": "a", "path": "absent"}], "absent"),
        ([], "tasks"),
    ],
)
def test_bad_stream_files_are_refused(product, tasks, words):
    record = {"name": "bad", "false_reject_rate": 0.1, "tasks": tasks}
    (product / "bad.json").write_text(json.dumps(record))
    refused(product, words, stream="bad.json")


def test_missing_stream_file_is_refused(product):
    refused(product, "absent.json", stream="absent.json")
