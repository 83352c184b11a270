"""Bad input to `cad-edge export`: one sentence, a non-zero exit, nothing written."""

import json
import shutil

import pytest
from click.testing import CliRunner

from cad_edge.cli import main
from cad_edge.store.artifact import read_artifact, write_artifact
from tests.export.test_incremental import content
from tests.training.small_products import NAMES, TINY, learn, stream_of
from tests.training.tiny_models import save_dinov2


@pytest.fixture
def workplace(tiny, tiny_first, tmp_path):
    """Copies of the artifacts and of the bundle that holds the first."""
    shutil.copytree(tiny, tmp_path / "artifacts")
    shutil.copytree(tiny_first, tmp_path / "bundle")
    return tmp_path


def export(workplace, *options, artifacts="artifacts"):
    arguments = ["export", str(workplace / artifacts), "--bundle", str(workplace / "bundle")]
    return CliRunner().invoke(main, [*arguments, *options])


def refused(workplace, words: str, *options, **places) -> None:
    before = content(workplace / "bundle")
    done = export(workplace, *options, **places)
    assert done.exit_code != 0 and words in done.output, done.output
    errors = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and "Traceback" not in done.output
    assert content(workplace / "bundle") == before


def edit(path, **changes) -> None:
    """Change a record as if it had been written before there were checksums."""
    record = json.loads(path.read_text()) | changes
    del record["sha256"]
    path.write_text(json.dumps(record))


def test_the_command_adds_what_is_lacking(workplace, dinov2):
    done = export(workplace, "--backbone", f"dinov2:{dinov2}")
    assert done.exit_code == 0, done.output
    assert f"added {NAMES[1]}, {NAMES[2]} to " in done.output
    again = export(workplace, "--backbone", f"dinov2:{dinov2}")
    assert again.exit_code == 0 and "already" in again.output


def test_artifact_of_another_format_version(workplace):
    path = workplace / "artifacts" / NAMES[1] / "artifact.json"
    edit(path, format=2)
    refused(workplace, f"{path} has format 2, this version reads format 1; learn the task again")


def test_an_artifact_that_has_lost_its_record(workplace):
    path = workplace / "artifacts" / NAMES[1]
    (path / "artifact.json").unlink()
    refused(workplace, f"{path} holds routing.safetensors and no artifact.json")


def test_a_bundle_is_not_made_among_images(workplace):
    shutil.rmtree(workplace / "bundle")
    (workplace / "bundle").mkdir()
    (workplace / "bundle/000.png").touch()
    refused(workplace, f"{workplace / 'bundle'} is no bundle and holds 000.png; give a bundle")


def test_a_bundle_is_not_made_among_artifacts(workplace):
    shutil.rmtree(workplace / "bundle")
    (workplace / "artifacts").rename(workplace / "bundle")
    words = f"{workplace / 'bundle'} is no bundle and holds {sorted(NAMES)[0]} and 2 more; give"
    refused(workplace, words, artifacts="bundle")


@pytest.mark.parametrize("part", ["tensors", "routing", "witness"])
def test_broken_or_missing_tensors(workplace, part):
    path = workplace / "artifacts" / NAMES[1] / f"{part}.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    refused(workplace, str(path))
    path.unlink()
    refused(workplace, f"{path} cannot be read")


def test_record_that_is_no_record(workplace):
    path = workplace / "artifacts" / NAMES[1] / "artifact.json"
    path.write_text("[]")
    refused(workplace, f"{path} is not a JSON object")
    path.write_text('{"format": 1}')
    refused(workplace, f"{path} is not valid")


def test_folder_without_artifacts(workplace):
    refused(workplace, "is not a folder of artifacts", artifacts="absent")
    (workplace / "empty").mkdir()
    refused(workplace, "holds no artifact; run `cad-edge train", artifacts="empty")


def test_artifacts_of_another_backbone(workplace, products):
    other = save_dinov2(workplace / "other-dinov2", side=56, seed=9)
    learn(stream_of(products, NAMES[1:2]), workplace / "others", TINY, f"dinov2:{other}", 56)
    refused(
        workplace,
        "one bundle routes in one feature space",
        *("--backbone", f"dinov2:{other}"),
        artifacts="others",
    )


def test_other_weights_under_the_right_name(workplace):
    other = save_dinov2(workplace / "tiny-dinov2", side=56, seed=9)
    refused(workplace, "are not those the tasks were learned on", "--backbone", f"dinov2:{other}")


def test_backbone_that_cannot_be_found(workplace):
    refused(workplace, "cannot be loaded", "--backbone", f"dinov2:{workplace / 'absent'}")


def test_artifacts_of_another_size(workplace, products, dinov2):
    learn(stream_of(products, NAMES[1:2]), workplace / "small", TINY, f"dinov2:{dinov2}", 42)
    refused(
        workplace,
        "learned at different sizes",
        *("--backbone", f"dinov2:{dinov2}"),
        artifacts="small",
    )


def test_name_that_another_task_has(workplace, dinov2):
    task = read_artifact(workplace / "artifacts" / NAMES[1])
    renamed = task.artifact.model_copy(update={"task": NAMES[0]})
    write_artifact(workplace / "taken", renamed, task.tensors, task.routing, task.witness)
    refused(
        workplace,
        f"the bundle holds another task {NAMES[0]} already",
        *("--backbone", f"dinov2:{dinov2}"),
        artifacts="taken",
    )


def test_unknown_method(workplace, dinov2):
    edit(workplace / "artifacts" / NAMES[1] / "artifact.json", method="patchcore")
    refused(workplace, "patchcore", "--backbone", f"dinov2:{dinov2}")


@pytest.mark.parametrize(
    "options", [("--layout", "flat"), ("--precision", "fp8"), ("--selector", "coin")]
)
def test_value_that_no_option_has(workplace, options):
    done = export(workplace, *options)
    assert done.exit_code == 2 and options[1] in done.output


def test_damaged_bundle(workplace, dinov2):
    manifest = next((workplace / "bundle/manifests").iterdir())
    manifest.write_bytes(manifest.read_bytes().replace(b'"version"', b'"versiom"'))
    refused(workplace, manifest.name, "--backbone", f"dinov2:{dinov2}")
