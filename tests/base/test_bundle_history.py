"""Rolling a bundle back and collecting what is no longer needed."""

import pytest

from cad_edge.errors import BundleError, IntegrityError
from cad_edge.store.atomic_write import TEMPORARY
from cad_edge.store.bundle import Bundle
from tests.base.bundle_samples import content, export, leftovers, routing, sha_of, tensors

pytestmark = pytest.mark.torchless


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return Bundle(tmp_path / "bundle")


@pytest.fixture
def two(bundle) -> Bundle:
    export(bundle, ["brick"])
    export(bundle, ["brick", "grass"])
    return bundle


class TestRollback:
    def test_back_and_on(self, two):
        second = two.pointer()
        assert two.rollback().version == 1
        assert list(two.manifest().tasks) == ["brick"]
        assert two.verify() == []
        third = export(two, ["brick", "gravel"])
        assert (two.pointer().version, two.manifest().previous) == (2, two.rollback().manifest)
        assert {second.manifest, third} < {path.stem for path in two.path.glob("manifests/*")}

    def test_the_version_left_behind_can_be_had_again(self, two):
        second = two.pointer()
        two.rollback()
        assert two.rollback(version=2) == second
        assert two.rollback(version=2) == second

    def test_the_same_export_after_a_rollback_is_the_same_version(self, two):
        second = two.pointer().manifest
        two.rollback()
        assert export(two, ["brick", "grass"]) == second

    def test_two_histories_with_one_number_are_not_guessed(self, two):
        two.rollback()
        export(two, ["brick", "gravel"])
        two.rollback()
        with pytest.raises(BundleError, match="holds 2 versions with the number 2"):
            two.rollback(version=2)

    def test_nothing_before_the_first(self, two):
        two.rollback()
        with pytest.raises(BundleError, match="version 1 is the first"):
            two.rollback()
        with pytest.raises(BundleError, match="holds no version with the number 7"):
            two.rollback(version=7)

    def test_a_collected_or_broken_version_is_refused(self, two):
        path = two.object_folder(sha_of(tensors("brick"))) / "tensors.safetensors"
        good = path.read_bytes()
        path.write_bytes(b"broken")
        with pytest.raises(IntegrityError):
            two.rollback()
        path.write_bytes(good)
        two.collect_garbage(keep=1)
        with pytest.raises(BundleError, match="version 1 was removed by `cad-edge gc`"):
            two.rollback()
        assert two.pointer().version == 2


class TestGarbage:
    def test_only_what_the_last_versions_need_stays(self, two):
        export(two, ["grass"])
        orphan = two.add_object({"graph.onnx": b"never committed"})
        stale = two.path / "objects" / f"{TEMPORARY}1-x"
        stale.mkdir()
        (stale / "graph.onnx").write_bytes(b"12345")
        first = two.collect_garbage(keep=2)
        assert set(first.objects) == {orphan}
        assert len(first.manifests) == 1
        assert first.bytes > len(b"never committed12345")
        second = two.collect_garbage(keep=1)
        assert set(second.objects) == {sha_of(tensors("brick")), sha_of(routing("brick"))}
        assert two.verify() == []
        assert leftovers(two.path) == []
        assert two.collect_garbage(keep=1).bytes == 0
        assert export(two, ["grass", "brick"]) and two.verify() == []

    def test_a_version_left_behind_by_a_rollback_goes(self, two):
        two.rollback()
        report = two.collect_garbage()
        assert len(report.manifests) == 1
        assert two.verify() == [] and two.pointer().version == 1

    def test_nothing_is_removed_while_the_current_manifest_is_broken(self, two):
        path = two.path / "manifests" / f"{two.pointer().manifest}.json"
        path.write_bytes(b"{}")
        before = content(two.path)
        with pytest.raises(IntegrityError):
            two.collect_garbage()
        assert content(two.path) == {**before, ".lock": b""}
        with pytest.raises(BundleError, match="at least 1"):
            two.collect_garbage(keep=0)
