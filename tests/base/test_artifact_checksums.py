"""Artifacts: every byte is what artifact.json says, and its own bytes are too."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cad_edge.errors import ArtifactError
from cad_edge.schema import canonical_json, sha256_of
from cad_edge.store.artifact import Artifact, list_artifacts, read_artifact, write_artifact
from tests.base.test_formats import GOLDEN, RECORDS

pytestmark = pytest.mark.torchless

PARTS = ("tensors", "routing", "witness", "generation")
ALL = {"artifact.json", *(f"{name}.safetensors" for name in PARTS)}


def write(folder: Path, rng: np.random.Generator) -> Path:
    parts = [{"a": rng.normal(size=(3, 5)).astype(np.float32)} for _ in PARTS]
    return write_artifact(folder, RECORDS["artifact"], *parts)


@pytest.fixture
def artifact(tmp_path, rng) -> Path:
    return write(tmp_path / "artifacts", rng)


def test_artifact_json_names_the_sha256_of_every_file(artifact):
    """By the words of docs/formats.md, not by the code under test."""
    data = (artifact / "artifact.json").read_bytes()
    said = json.loads(data)["sha256"]
    assert set(said) == ALL == {path.name for path in artifact.iterdir()}
    for name in ALL - {"artifact.json"}:
        assert said[name] == sha256_of((artifact / name).read_bytes())
    own = said["artifact.json"].encode()
    assert data.count(own) == 1
    assert sha256_of(data.replace(own, b"0" * 64)) == own.decode()


def test_what_was_read_is_what_was_written(artifact):
    record = read_artifact(artifact).artifact
    assert record.model_copy(update={"sha256": {}}) == RECORDS["artifact"]
    assert canonical_json(record) == (artifact / "artifact.json").read_bytes()


def test_one_that_is_written_again_gets_sums_of_its_own(artifact, tmp_path):
    task = read_artifact(artifact)
    other = write_artifact(tmp_path / "again", task.artifact, task.tensors, {}, task.witness)
    assert read_artifact(other).artifact.sha256 != task.artifact.sha256


@pytest.mark.parametrize("name", sorted(ALL))
def test_any_flipped_bit_is_refused_by_the_name_of_its_file(artifact, name, rng):
    path = artifact / name
    data = path.read_bytes()
    bits = rng.choice(8 * len(data), 300, replace=False)
    for bit in [*bits, 0, 8 * len(data) - 1]:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match=re.escape(str(path))):
            read_artifact(artifact)
    path.write_bytes(data)
    assert read_artifact(artifact).evolves


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_missing_cut_or_grown_file_is_refused_by_name(artifact, name):
    path = artifact / name
    data = path.read_bytes()
    for changed in (data[:-1], data[: len(data) // 2], b"", data + b"\0", data + b"\n"):
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match=re.escape(str(path))):
            read_artifact(artifact)
    path.unlink()
    with pytest.raises(ArtifactError, match=re.escape(str(path))):
        read_artifact(artifact)


def test_files_of_another_artifact_are_refused(artifact, tmp_path, rng):
    other = write(tmp_path / "other", rng)
    for name in ALL - {"artifact.json"}:
        before = (artifact / name).read_bytes()
        shutil.copy(other / name, artifact / name)
        with pytest.raises(ArtifactError, match=rf"{name} is not what artifact\.json beside it"):
            read_artifact(artifact)
        (artifact / name).write_bytes(before)


def test_shared_weights_that_do_not_belong_there(tmp_path):
    alone = write_artifact(tmp_path, RECORDS["artifact"], {}, {}, {})
    assert not read_artifact(alone).evolves
    shutil.copy(alone / "tensors.safetensors", alone / "generation.safetensors")
    with pytest.raises(ArtifactError, match=r"generation\.safetensors is not named by artifact"):
        read_artifact(alone)


@pytest.mark.parametrize(
    "sums",
    [{}, None, 1, [], {"artifact.json": 1}, {"artifact.json": "0"}, {"artifact.json": "0" * 64}],
)
def test_sums_that_are_none_are_refused(artifact, sums):
    record = json.loads((artifact / "artifact.json").read_bytes()) | {"sha256": sums}
    (artifact / "artifact.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="is not what its own sha256 says"):
        read_artifact(artifact)


def test_an_artifact_of_before_is_read_and_has_the_name_that_it_had(artifact):
    """Bundles in the field name artifacts by this sha256."""
    golden = (GOLDEN / "artifact.json").read_bytes()
    (artifact / "artifact.json").write_bytes(golden)
    parts = [(artifact / f"{name}.safetensors").read_bytes() for name in PARTS]
    task = read_artifact(artifact)
    assert task.artifact == RECORDS["artifact"] and task.artifact.sha256 == {}
    assert task.sha256 == sha256_of(golden + b"".join(parts))


def test_its_bytes_are_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    """The order of a power cut: every file, their folder, and after the rename the one above."""
    synced = []
    sync = os.fsync

    def watching(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        assert (tmp_path / "pcb-A.1").exists() == (synced[-1] == tmp_path)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watching)
    write_artifact(tmp_path, RECORDS["artifact"], {}, {}, {})
    *files, inner, outer = synced
    assert {path.name for path in files} == ALL - {"generation.safetensors"}
    assert inner.name.startswith(".tmp-pcb-A.1-") and outer == tmp_path


class TestLeftByKilledProcesses:
    def left(self, folder: Path, process: int, name: str = "nut") -> Path:
        made = folder / f".tmp-{name}-{process}"
        made.mkdir(parents=True)
        (made / "tensors.safetensors").write_bytes(b"half")
        return made

    def gone(self) -> int:
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        return child.pid

    def test_the_next_one_that_writes_removes_it(self, tmp_path):
        left = [self.left(tmp_path, self.gone()), self.left(tmp_path, self.gone(), "a-b-7")]
        newer = tmp_path / f".tmp-nut-{self.gone()}-{'0' * 32}"
        newer.mkdir()
        write_artifact(tmp_path, RECORDS["artifact"], {}, {}, {})
        assert [path for path in [*left, newer] if path.exists()] == []
        assert list_artifacts(tmp_path) == [tmp_path / "pcb-A.1"]

    def test_what_another_process_is_writing_stays(self, tmp_path):
        """Its process id may be nobody's here, as in another container: the lock tells."""
        script = (
            "import os, sys, pathlib, cad_edge.store.unfinished as u\n"
            "with u.unfinished_folder(pathlib.Path(sys.argv[1]), 'nut') as path:\n"
            "    other = path.with_name(f'.tmp-nut-{sys.argv[2]}')\n"
            "    path.rename(other)\n"
            "    print(other, flush=True)\n"
            "    sys.stdin.read()\n"
        )
        arguments = [sys.executable, "-c", script, tmp_path, str(self.gone())]
        with subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            writing = Path(other.stdout.readline().strip())
            write_artifact(tmp_path, RECORDS["artifact"], {}, {}, {})
            assert writing.exists()
            other.kill()
        write_artifact(tmp_path, RECORDS["artifact"].model_copy(update={"task": "two"}), {}, {}, {})
        assert not writing.exists()

    def test_a_process_id_that_somebody_else_has_now(self, tmp_path):
        left = self.left(tmp_path, os.getppid())
        write_artifact(tmp_path, RECORDS["artifact"], {}, {}, {})
        assert left.exists()
        long_ago = time.time() - 2 * 3600
        os.utime(left, (long_ago, long_ago))
        write_artifact(tmp_path, RECORDS["artifact"].model_copy(update={"task": "two"}), {}, {}, {})
        assert not left.exists()

    def test_nothing_else_of_that_name_is_touched(self, tmp_path):
        (tmp_path / ".tmp-mine").mkdir()
        (tmp_path / f".tmp-nut-{self.gone()}").write_bytes(b"a file")
        (tmp_path / f".tmp-lid-{self.gone()}").symlink_to(tmp_path / ".tmp-mine")
        before = sorted(tmp_path.iterdir())
        write_artifact(tmp_path, RECORDS["artifact"], {}, {}, {})
        assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "pcb-A.1"])

    def test_a_full_disk_leaves_nothing(self, tmp_path, monkeypatch):
        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ArtifactError, match="could not be written: No space left on device"):
            write_artifact(tmp_path, RECORDS["artifact"], {}, {}, {})
        assert list(tmp_path.iterdir()) == []


def test_the_record_is_read_without_the_new_field_by_default():
    assert "sha256" not in json.loads(canonical_json(RECORDS["artifact"]))
    assert Artifact.model_fields["sha256"].default == {}
