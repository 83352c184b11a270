"""A FIFO, a device, a link or a folder in the place of any file is refused at once, by name."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cad_edge.errors import ArtifactError, BundleError, IntegrityError
from cad_edge.store.artifact import list_artifacts, read_artifact, write_artifact
from cad_edge.store.atomic_write import size_of, sync_folder, temporary_in
from cad_edge.store.bundle import Bundle
from cad_edge.store.history import History
from cad_edge.store.objects import MAXIMUM_FILES, ObjectStore
from cad_edge.store.plain_file import NotPlainFile, read_chunks, read_plain
from tests.base.bundle_samples import content, export, sha_of, tensors
from tests.base.not_files import NOT_FILES, fifo, folder, within
from tests.base.test_formats import RECORDS

pytestmark = pytest.mark.torchless


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    made = Bundle(tmp_path / "bundle")
    export(made, ["brick"])
    return made


@pytest.mark.parametrize("kind", NOT_FILES)
class TestBundle:
    def test_manifest(self, bundle, kind):
        sha = bundle.pointer().manifest
        path = bundle.path / "manifests" / f"{sha}.json"
        path.unlink()
        NOT_FILES[kind](path)
        with within(60), pytest.raises(IntegrityError) as refused:
            bundle.manifest()
        assert f"{path} cannot be read: it is {kind[:13].strip()}" in str(refused.value)
        with within(60):
            assert any(str(path) in problem for problem in bundle.verify())

    def test_file_of_an_object(self, bundle, kind):
        sha = sha_of(tensors("brick"))
        path = bundle.object_folder(sha) / "tensors.safetensors"
        path.unlink()
        NOT_FILES[kind](path)
        for look in (bundle.read_object, bundle.verify_object):
            with within(60), pytest.raises(IntegrityError) as refused:
                look(sha)
            assert str(path) in str(refused.value)
        with within(60):
            assert any(str(path) in problem for problem in bundle.verify())

    def test_strays(self, bundle, kind):
        places = [
            bundle.path / "manifests" / "stray",
            bundle.path / "manifests" / f"{'0' * 64}.json",
            bundle.path / "objects" / "stray",
            bundle.path / "objects" / ("0" * 64),
            bundle.object_folder(sha_of(tensors("brick"))) / "stray",
        ]
        for place in places:
            NOT_FILES[kind](place)
        with within(60):
            problems = bundle.verify()
        for place in places:
            assert any(str(place) in problem for problem in problems), place

    def test_garbage_collection_removes_it_and_not_what_it_leads_to(self, bundle, kind):
        before = content(bundle.path)
        NOT_FILES[kind](bundle.path / "objects" / ("0" * 64))
        NOT_FILES[kind](bundle.path / "objects" / ".tmp-1-x")
        NOT_FILES[kind](bundle.path / "manifests" / f"{'0' * 64}.json")
        with within(60):
            bundle.collect_garbage()
        gone = ("0" * 64, ".tmp-1-x", f"{'0' * 64}.json")
        assert [path.name for path in bundle.path.rglob("*") if path.name in gone] == []
        assert content(bundle.path) == before

    def test_lock(self, bundle, kind):
        path = bundle.path / ".lock"
        path.unlink()
        NOT_FILES[kind](path)
        with within(60), pytest.raises(BundleError) as refused, bundle.lock():
            pass
        assert f"{path} cannot be locked: it is {kind[:13].strip()}" in str(refused.value)

    def test_writing_a_manifest_in_its_place(self, bundle, kind):
        manifest, sha = bundle.manifest(), bundle.pointer().manifest
        path = bundle.path / "manifests" / f"{sha}.json"
        path.unlink()
        NOT_FILES[kind](path)
        history = History(path.parent)
        with within(60):
            if kind == "a folder":
                with pytest.raises(BundleError, match="could not be written"):
                    history.write(manifest)
                return
            assert history.write(manifest) == sha
        assert bundle.manifest() == manifest


class TestArtifact:
    @pytest.fixture
    def artifact(self, tmp_path) -> Path:
        return write_artifact(tmp_path / "artifacts", RECORDS["artifact"], {}, {}, {})

    @pytest.mark.parametrize("kind", NOT_FILES)
    @pytest.mark.parametrize("name", ["artifact.json", "tensors.safetensors"])
    def test_file(self, artifact, name, kind):
        (artifact / name).unlink()
        NOT_FILES[kind](artifact / name)
        with within(60), pytest.raises(ArtifactError) as refused:
            read_artifact(artifact)
        assert f"{artifact / name} cannot be read: " in str(refused.value)
        if name == "artifact.json" and kind != "a symbolic link to nothing":
            with within(60), pytest.raises(ArtifactError):
                list_artifacts(artifact.parent)

    def test_file_that_is_kept_elsewhere_and_linked(self, artifact, tmp_path):
        """As tools that version data do."""
        before = read_artifact(artifact).sha256
        path = artifact / "tensors.safetensors"
        shutil.move(path, tmp_path / "cache")
        path.symlink_to(tmp_path / "cache")
        assert read_artifact(artifact).sha256 == before


class TestReading:
    def test_no_more_than_the_limit(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"12345")
        assert read_plain(path, 5) == b"".join(read_chunks(path, 5)) == b"12345"
        with pytest.raises(NotPlainFile, match="it holds 5 bytes, and at most 4 belong there"):
            read_plain(path, 4)
        with pytest.raises(NotPlainFile, match="it holds 5 bytes"):
            list(read_chunks(path, 4))

    def test_a_file_that_grows(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(bytes(3 << 20))
        pieces = read_chunks(path)
        next(pieces)
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(NotPlainFile, match="it grows while it is read"):
            list(pieces)

    def test_a_name_that_no_file_has(self):
        with pytest.raises(NotPlainFile, match="NUL"):
            read_plain(Path("a\0b"))

    def test_manifest_and_object_beyond_their_limits(self, bundle):
        sha = sha_of(tensors("brick"))
        path = bundle.object_folder(sha) / "tensors.safetensors"
        store = ObjectStore(bundle.path / "objects")
        assert store.read(sha, path.stat().st_size) == tensors("brick")
        with pytest.raises(BundleError, match=r"holds 800 bytes, and at most 799 may be read"):
            store.read(sha, path.stat().st_size - 1)
        manifest = bundle.path / "manifests" / f"{bundle.pointer().manifest}.json"
        os.truncate(manifest, 1 << 40)  # without a block on the disk
        with within(60), pytest.raises(IntegrityError, match="at most 67,108,864 belong there"):
            bundle.manifest()

    def test_an_object_of_very_many_files(self, bundle):
        place = bundle.object_folder(sha_of(tensors("brick")))
        for number in range(MAXIMUM_FILES):
            (place / f"f{number}").touch()
        with pytest.raises(IntegrityError, match="more than 1,000 files"):
            bundle.verify_object(place.name)

    def test_what_is_not_as_written_does_not_fill_the_memory(self, bundle):
        """100 MB in the place of 800 bytes, read by a process that may have 60 MB more."""
        sha = sha_of(tensors("brick"))
        os.truncate(bundle.object_folder(sha) / "tensors.safetensors", 100 << 20)
        assert "is not what its sha256 says" in limited(bundle.path, sha)

    def test_little_memory_is_not_blamed_on_the_bundle(self, bundle):
        sha = bundle.add_object({"tensors.safetensors": bytes(100 << 20)})
        said = limited(bundle.path, sha)
        assert "tensors.safetensors cannot be read: there is not enough memory" in said
        assert "again" not in said

    @pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights are those of Unix")
    def test_missing_rights_are_not_blamed_on_the_bundle(self, bundle):
        path = bundle.path / "manifests" / f"{bundle.pointer().manifest}.json"
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(BundleError, match="allow this user to read it"):
            bundle.manifest()

    def test_too_many_open_files_are_not_blamed_on_the_bundle(self, bundle):
        sha = bundle.pointer().manifest
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = os.open(os.devnull, os.O_RDONLY)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (taken, before[1]))
            with pytest.raises(BundleError, match=r"raise the limit of open files") as refused:
                bundle.manifest(sha)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            os.close(taken)
        assert not isinstance(refused.value, IntegrityError)


def limited(path: Path, sha: str) -> str:
    script = (
        "import pathlib, resource, sys\n"
        "from cad_edge.errors import BundleError\n"
        "from cad_edge.store.objects import ObjectStore\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (60 << 20),) * 2)\n"
        "try:\n    ObjectStore(pathlib.Path(sys.argv[1]) / 'objects').read(sys.argv[2])\n"
        "except BundleError as problem:\n    print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path, sha], capture_output=True, text=True)
    assert done.stdout, done.stderr
    return done.stdout


def test_folders_that_are_something_else(tmp_path):
    fifo(tmp_path / "fifo")
    with within(60), pytest.raises(OSError, match="directory"):
        sync_folder(tmp_path / "fifo")
    assert temporary_in([tmp_path / "fifo", tmp_path / "nowhere"]) == []
    folder(tmp_path / "one")
    (tmp_path / "one" / "two").mkdir()
    (tmp_path / "one" / "two" / "three").write_bytes(b"123")
    (tmp_path / "one" / "all").symlink_to("/")
    assert size_of(tmp_path / "one") == 3 + len("/")
    assert size_of(tmp_path / "nowhere") == 0
