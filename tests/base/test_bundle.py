"""The bundle store: reading, integrity, adding objects, committing and excluding other writers."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

from cad_edge.errors import BundleError, BundleLocked, IntegrityError
from cad_edge.schema import canonical_json
from cad_edge.store.bundle import Bundle
from tests.base.bundle_samples import (
    GRAPH,
    content,
    export,
    leftovers,
    manifest_of,
    sha_of,
    tensors,
)

pytestmark = pytest.mark.torchless


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return Bundle(tmp_path / "bundle")


@pytest.fixture
def two(bundle) -> Bundle:
    export(bundle, ["brick"])
    export(bundle, ["brick", "grass"])
    return bundle


class TestReading:
    def test_a_committed_version_reads_back(self, two):
        assert two.exists()
        assert two.pointer().version == 2
        assert list(two.manifest().tasks) == ["brick", "grass"]
        assert two.read_object(sha_of(GRAPH)) == GRAPH
        assert two.verify_object(sha_of(GRAPH)) == two.object_folder(sha_of(GRAPH))
        assert two.manifest(two.manifest().previous).version == 1
        assert two.verify() == []
        assert leftovers(two.path) == []

    def test_reading_writes_nothing(self, two):
        before = content(two.path)
        two.manifest(), two.verify(), two.read_object(sha_of(GRAPH))
        assert content(two.path) == before

    def test_a_folder_without_pointer_is_not_a_bundle(self, bundle):
        assert not bundle.exists()
        for action in (bundle.pointer, bundle.manifest, bundle.rollback, bundle.collect_garbage):
            with pytest.raises(BundleError, match=r"is not a bundle .*cad-edge export"):
                action()
        assert not bundle.path.exists()
        assert len(bundle.verify()) == 1

    @pytest.mark.parametrize("name", ["", "..", "../" * 3 + "etc", "A" * 64, "a" * 63])
    def test_only_a_sha256_names_an_object(self, two, name):
        for action in (two.read_object, two.object_folder, two.verify_object, two.manifest):
            with pytest.raises(IntegrityError, match="is not the sha256"):
                action(name)

    def test_a_pointer_to_another_format_is_told_apart(self, two):
        (two.path / "bundle.json").write_text(json.dumps({"format": 2, "manifest": "?"}))
        with pytest.raises(BundleError, match="has format 2, this version reads format 1"):
            two.pointer()

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 1}', '{"x": "' + "\0"])
    def test_a_broken_pointer_is_one_sentence(self, two, text):
        (two.path / "bundle.json").write_text(text)
        with pytest.raises(BundleError, match=r"bundle\.json"):
            two.manifest()
        assert len(two.verify()) == 1

    def test_a_pointer_with_another_version_number_is_refused(self, two):
        pointer = two.pointer()
        text = canonical_json(pointer).replace(b'"version": 2', b'"version": 9')
        (two.path / "bundle.json").write_bytes(text)
        with pytest.raises(IntegrityError, match="names version 9, but its manifest is version 2"):
            two.manifest()


class TestIntegrity:
    @pytest.mark.parametrize("files", [GRAPH, tensors("brick")])
    def test_a_flipped_byte_is_found_in_every_file(self, two, files):
        for name in files:
            path = two.object_folder(sha_of(files)) / name
            good = path.read_bytes()
            path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
            for action in (two.read_object, two.verify_object):
                with pytest.raises(IntegrityError, match=name):
                    action(sha_of(files))
            assert len(two.verify()) == 1
            path.write_bytes(good)
        assert two.verify() == []

    def test_a_flipped_byte_in_a_manifest_is_found(self, two):
        path = two.path / "manifests" / f"{two.pointer().manifest}.json"
        path.write_bytes(path.read_bytes().replace(b"cmpmb", b"cmpmc"))
        with pytest.raises(IntegrityError, match=path.name):
            two.manifest()
        assert len(two.verify()) == 1

    def test_a_missing_manifest_object_or_file_is_named(self, two):
        folder = two.object_folder(sha_of(tensors("grass")))
        shutil.rmtree(folder)
        with pytest.raises(IntegrityError, match=f"{folder.name} is missing"):
            two.read_object(folder.name)
        (two.object_folder(sha_of(GRAPH)) / "weights.bin").unlink()
        with pytest.raises(
            IntegrityError, match=r"graph\.onnx changed, or a file beside it is missing"
        ):
            two.verify_object(sha_of(GRAPH))
        (two.path / "manifests" / f"{two.pointer().manifest}.json").unlink()
        with pytest.raises(IntegrityError, match="cannot be read"):
            two.manifest()
        problems = two.verify()  # grass is named by nothing that is left
        assert len(problems) == 2 and "graph.onnx" in problems[1]

    def test_an_unexpected_file_is_named(self, two):
        extra = two.object_folder(sha_of(GRAPH)) / "extra.bin"
        extra.write_bytes(b"?")
        with pytest.raises(IntegrityError, match=r"extra\.bin does not belong there"):
            two.read_object(sha_of(GRAPH))
        (two.path / "objects" / "notes.txt").write_text("?")
        (two.path / "manifests" / "notes.txt").write_text("?")
        assert len(two.verify()) == 3

    def test_an_empty_object_and_a_folder_within_one_are_refused(self, two):
        folder = two.object_folder(sha_of(tensors("brick")))
        (folder / "tensors.safetensors").unlink()
        with pytest.raises(IntegrityError, match="is empty"):
            two.read_object(folder.name)
        (folder / "tensors.safetensors").mkdir()
        with pytest.raises(IntegrityError, match="not a plain file"):
            two.read_object(folder.name)

    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_symbolic_links_are_refused_even_to_the_same_bytes(self, two, tmp_path, what):
        folder = two.object_folder(sha_of(tensors("brick")))
        path = folder / "tensors.safetensors" if what == "file" else folder
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        for action in (two.read_object, two.verify_object):
            with pytest.raises(IntegrityError, match="symbolic link"):
                action(folder.name)
        assert len(two.verify()) == 1

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "/a", "a\0", "a\n", ".a", "ä"])
    def test_a_file_name_that_is_not_plain_is_refused(self, bundle, name):
        with pytest.raises(BundleError, match="cannot be the name of a file"):
            bundle.add_object({name: b""})
        assert not bundle.path.exists()


class TestAdding:
    def test_adding_again_leaves_the_object_untouched(self, two):
        path = two.object_folder(sha_of(GRAPH)) / "graph.onnx"
        before = path.stat()
        assert two.add_object(GRAPH) == sha_of(GRAPH)
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_a_broken_object_is_mended_by_adding_it(self, two):
        path = two.object_folder(sha_of(GRAPH)) / "graph.onnx"
        path.write_bytes(b"broken")
        two.add_object(GRAPH)
        assert two.verify() == []
        assert leftovers(two.path) == []

    def test_a_folder_gives_the_same_object_as_its_bytes(self, bundle, tmp_path):
        source = tmp_path / "source"
        source.mkdir()
        for name, data in GRAPH.items():
            (source / name).write_bytes(data)
        assert bundle.add_object_folder(source) == bundle.add_object(GRAPH) == sha_of(GRAPH)
        (source / "link").symlink_to(source / "graph.onnx")
        with pytest.raises(IntegrityError, match="symbolic link"):
            bundle.add_object_folder(source)

    def test_an_object_needs_a_file(self, bundle):
        with pytest.raises(BundleError, match="at least one file"):
            bundle.add_object({})

    def test_a_new_task_leaves_everything_older_byte_identical(self, two):
        before = content(two.path)
        export(two, ["brick", "grass", "gravel"])
        after = content(two.path)
        changed = {name for name in before if after.get(name) != before[name]}
        assert changed == {"bundle.json"}

    def test_objects_are_readable_by_whoever_may_read_the_folder(self, two):
        umask = os.umask(0)
        os.umask(umask)
        folder = two.object_folder(sha_of(GRAPH))
        assert folder.stat().st_mode & 0o777 == 0o777 & ~umask
        assert (folder / "graph.onnx").stat().st_mode & 0o777 == 0o666 & ~umask


class TestCommit:
    def test_a_commit_needs_the_lock(self, bundle):
        with pytest.raises(BundleError, match=r"must be locked"):
            bundle.commit(manifest_of([], 1, None))

    @pytest.mark.parametrize("version, previous", [(1, None), (2, None), (4, "="), (3, "d" * 64)])
    def test_only_the_next_version_is_taken(self, two, version, previous):
        previous = two.pointer().manifest if previous == "=" else previous
        with two.lock(), pytest.raises(BundleError, match="expects version 3"):
            two.commit(manifest_of(["brick"], version, previous))
        assert two.pointer().version == 2

    def test_a_missing_object_is_refused(self, two):
        with two.lock(), pytest.raises(IntegrityError, match="add it before commit"):
            two.commit(manifest_of(["gravel"], 3, two.pointer().manifest))
        assert two.verify() == []

    def test_a_second_thread_is_refused(self, two):
        caught = []

        def other(bundle: Bundle) -> None:
            try:
                with bundle.lock():
                    caught.append(None)
            except BundleLocked as problem:
                caught.append(str(problem))

        with two.lock(), two.lock():
            for bundle in (two, Bundle(two.path)):
                thread = threading.Thread(target=other, args=[bundle])
                thread.start()
                thread.join()
        assert all(str(os.getpid()) in text for text in caught) and len(caught) == 2
        with Bundle(two.path).lock():
            pass

    def test_a_disk_without_locks_is_told_apart_from_a_second_writer(self, two, monkeypatch):
        def refuse(*_):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", refuse)
            with pytest.raises(BundleError, match="cannot be locked") as caught:
                two.rollback()
        assert not isinstance(caught.value, BundleLocked)
        assert two.rollback().version == 1

    def test_a_second_process_is_refused_until_the_first_is_gone(self, two):
        script = (
            "import sys, pathlib, cad_edge.store.bundle as b\n"
            "with b.Bundle(pathlib.Path(sys.argv[1])).lock():\n"
            "    print('held', flush=True)\n"
            "    sys.stdin.read()\n"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", script, two.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with holder:
            assert holder.stdout.readline() == "held\n"
            for action in (two.rollback, two.collect_garbage, lambda: export(two, ["brick"])):
                with pytest.raises(BundleLocked, match=f"by process {holder.pid}; try again"):
                    action()
            holder.kill()
        export(two, ["brick"])
        assert two.verify() == []
