"""The bundle store under full disks and kill -9."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cad_edge.errors import BundleError
from cad_edge.schema import canonical_json, sha256_of
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest
from tests.base.bundle_samples import (
    GRAPH,
    content,
    export,
    leftovers,
    manifest_of,
    routing,
    sha_of,
    tensors,
)

pytestmark = pytest.mark.torchless


class TestDiskFull:
    CALLS = ("open", "fsync", "mkdir", "rename", "replace")

    def fail_at(self, patch: pytest.MonkeyPatch, step: int, reason: int) -> list[str]:
        """Let the ``step``-th call fail; the list fills with the calls made."""
        calls = []

        def failing(call):
            def wrapper(*arguments, **options):
                calls.append(call.__name__)
                if len(calls) == step:
                    raise OSError(reason, os.strerror(reason))
                return call(*arguments, **options)

            return wrapper

        for name in self.CALLS:
            patch.setattr(os, name, failing(getattr(os, name)))
        return calls

    @pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO, errno.EROFS])
    def test_refused_at_any_step_the_bundle_opens_as_before_or_after(self, tmp_path, reason):
        original = Bundle(tmp_path / "original")
        first = export(original, ["brick"])
        for step in range(1, 200):
            bundle = Bundle(tmp_path / f"step-{step}")
            shutil.copytree(original.path, bundle.path)
            with pytest.MonkeyPatch.context() as patch:
                calls = self.fail_at(patch, step, reason)
                try:
                    export(bundle, ["brick", "grass"])
                except BundleError as problem:
                    # A refused read of what is there already makes the writer write it anew.
                    assert os.strerror(reason) in str(problem)
                    version = None
                else:
                    version = 2
            assert version in (None, bundle.pointer().version)
            assert leftovers(bundle.path) == []
            assert bundle.verify() == []
            assert bundle.pointer().manifest == first or list(bundle.manifest().tasks)[1:]
            shutil.rmtree(bundle.path)
            if len(calls) < step:
                break
        assert 30 < step < 199

    def test_a_real_limit_of_the_system(self, tmp_path):
        """The kernel refuses to write beyond 64 kB, as it does on a full disk."""
        two = Bundle(tmp_path / "bundle")
        export(two, ["brick"])
        before = content(two.path)
        script = (
            "import sys, pathlib, cad_edge.store.bundle as b, cad_edge.errors as e\n"
            "bundle = b.Bundle(pathlib.Path(sys.argv[1]))\n"
            "try:\n    bundle.add_object({'graph.onnx': bytes(1 << 20)})\n"
            "except e.BundleError as problem:\n    print(problem)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, two.path],
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)),
        )
        assert "could not be written (File too large)" in done.stdout, done.stderr
        assert done.stdout.count("\n") == 1
        assert content(two.path) == before
        assert leftovers(two.path) == []


class TestKill:
    """A real SIGKILL at every step of a writer, see bundle_faults.py."""

    def run(self, root: Path, job: str, planned: Manifest, objects: list[dict[str, bytes]]):
        texts = [
            {name: data.decode("latin-1") for name, data in files.items()} for files in objects
        ]
        plan = {"objects": texts, "manifest": planned.model_dump(mode="json")}
        (root / "next.json").write_text(json.dumps(plan))
        script = Path(__file__).with_name("bundle_faults.py")
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run([sys.executable, script, root, job], check=True, env=environment)
        cases = sorted(root.glob("case-*"))
        assert len(cases) > 40
        return cases

    def test_an_export_killed_at_any_step(self, tmp_path):
        before = Bundle(tmp_path / "before")
        first = export(before, ["brick"])
        planned = manifest_of(["brick", "grass"], 2, first)
        second = sha256_of(canonical_json(planned))
        seen = set()
        for case in self.run(tmp_path, "export", planned, [tensors("grass"), routing("grass")]):
            bundle = Bundle(case)
            assert bundle.verify() == []
            seen.add(bundle.pointer().manifest)
            if bundle.pointer().manifest == first:
                assert export(bundle, ["brick", "grass"]) == second
            bundle.collect_garbage()
            assert leftovers(case) == []
            assert bundle.verify() == []
            assert bundle.pointer().manifest == second
        assert seen == {first, second}

    def test_the_first_export_killed_at_any_step(self, tmp_path):
        planned = manifest_of([], 1, None)
        graph = {"graph.onnx": b"graph", "weights.bin": b"x" * 100}
        text = canonical_json(planned).replace(sha_of(GRAPH).encode(), sha_of(graph).encode())
        planned = Manifest.model_validate_json(text)
        seen = set()
        for case in self.run(tmp_path, "export", planned, [graph]):
            bundle = Bundle(case)
            seen.add(bundle.exists())
            if bundle.exists():
                assert bundle.verify() == []
            else:
                export(bundle, ["brick"])
                assert bundle.verify() == []
        assert seen == {False, True}

    def test_garbage_collection_killed_at_any_step(self, tmp_path):
        before = Bundle(tmp_path / "before")
        export(before, ["brick"])
        current = export(before, ["grass"])
        for case in self.run(tmp_path, "gc", before.manifest(), []):
            bundle = Bundle(case)
            assert bundle.verify() == []
            assert bundle.pointer().manifest == current
            bundle.collect_garbage(keep=1)
            assert leftovers(case) == []
            assert len(list(case.glob("objects/*"))) == 3
