"""Folders of artifacts: none that has lost its record is left out without a word."""

import os

import pytest

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import list_artifacts, write_artifact
from tests.base.test_formats import RECORDS

pytestmark = pytest.mark.torchless


@pytest.fixture
def artifacts(tmp_path):
    for position, task in enumerate(("nut", "bolt")):
        record = RECORDS["artifact"].model_copy(update={"task": task, "position": position})
        write_artifact(tmp_path, record, {}, {}, {})
    return tmp_path


def refusal(folder) -> str:
    with pytest.raises(ArtifactError) as caught:
        list_artifacts(folder)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 600
    return said


def test_in_the_order_of_the_stream(artifacts):
    assert list_artifacts(artifacts) == [artifacts / "nut", artifacts / "bolt"]
    assert list_artifacts(artifacts / "gone") == []


@pytest.mark.parametrize("instead", [None, "artifact.json.bak", "Artifact.json"])
def test_a_record_that_is_gone(artifacts, instead):
    path = artifacts / "bolt/artifact.json"
    path.rename(path.with_name(instead)) if instead else path.unlink()
    said = refusal(artifacts)
    assert f"{artifacts / 'bolt'} holds routing.safetensors and no artifact.json" in said
    assert "copy the artifact again or learn the task again, or move the folder out of" in said


def test_a_record_that_is_a_link_to_nothing(artifacts):
    path = artifacts / "bolt/artifact.json"
    path.unlink()
    path.symlink_to("nowhere")
    assert f"{path} cannot be read" in refusal(artifacts)


def test_an_artifact_that_is_a_link(artifacts, tmp_path_factory):
    far = tmp_path_factory.mktemp("far") / "bolt"
    (artifacts / "bolt").rename(far)
    (artifacts / "bolt").symlink_to(far)
    assert list_artifacts(artifacts) == [artifacts / "nut", artifacts / "bolt"]
    far.rename(far.with_name("moved"))
    assert f"the link {artifacts / 'bolt'} leads nowhere" in refusal(artifacts)


def test_a_folder_that_cannot_be_read(artifacts):
    if os.geteuid() == 0:
        pytest.skip("this user reads everything")
    (artifacts / "bolt").chmod(0)
    assert f"{artifacts / 'bolt'} cannot be read: Permission denied" in refusal(artifacts)


def test_other_folders_are_none(artifacts):
    for name in ("notes", ".tmp-nut-7", ".hidden", "@eaDir"):
        (artifacts / name).mkdir()
        if name != "notes":
            (artifacts / name / "tensors.safetensors").touch()
    (artifacts / "notes/readme.txt").touch()
    (artifacts / "stream.yaml").touch()
    assert list_artifacts(artifacts) == [artifacts / "nut", artifacts / "bolt"]
