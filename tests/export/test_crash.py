"""A full disk, a kill and a second exporter: the bundle is as before or as after."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cad_edge.errors import BundleLocked
from cad_edge.store.atomic_write import TEMPORARY
from cad_edge.store.bundle import Bundle
from tests.export.conftest import export
from tests.export.test_incremental import content
from tests.training.small_products import NAMES

COMMAND = "from cad_edge.cli import main; main()"
ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".", "training", "export", "runtime", "benchmarks")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in FOLDERS),
}


@pytest.fixture
def bundle(tiny_first, tmp_path) -> Path:
    """Bundle with the first of the three tasks."""
    return Path(shutil.copytree(tiny_first, tmp_path / "bundle"))


def command(tiny, bundle, dinov2, layout: str = "shared") -> list[str]:
    arguments = ["export", str(tiny), "--bundle", str(bundle), "--layout", layout]
    return [sys.executable, "-c", COMMAND, *arguments, "--backbone", f"dinov2:{dinov2}"]


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def leftovers(bundle: Path) -> list[Path]:
    return list(bundle.rglob(f"{TEMPORARY}*"))


def test_full_disk_changes_nothing_and_is_said_in_one_sentence(tiny, dinov2, bundle):
    before = content(bundle)
    done = subprocess.run(
        command(tiny, bundle, dinov2),
        env={**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        preexec_fn=limited,
    )
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and "could not be written (File too large)" in errors[0], done.stderr
    assert "Traceback" not in done.stderr
    assert content(bundle) == before and leftovers(bundle) == []
    assert export(tiny, bundle, backbone=f"dinov2:{dinov2}") == list(NAMES[1:])


def test_killed_at_any_moment_the_bundle_opens_as_before_or_as_after(
    tiny, dinov2, bundle, tmp_path
):
    """Moments are numbers of objects written, so that they fall where something happens."""
    before = Bundle(bundle).pointer()
    start = len(Bundle(bundle).manifest().objects())
    rng = random.Random(4)
    for moment in (start, start + 1, start + rng.randint(2, 4)):
        case = Path(shutil.copytree(bundle, tmp_path / f"case-{moment}"))
        writer = subprocess.Popen(
            command(tiny, case, dinov2), env=ENVIRONMENT, stderr=subprocess.PIPE
        )
        reached = _wait(lambda case=case, moment=moment: _objects(case) > moment, writer)
        time.sleep(rng.uniform(0, 0.02))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert reached
        killed = Bundle(case)
        assert killed.verify() == []
        assert killed.pointer() == before or sorted(killed.manifest().tasks) == sorted(NAMES)
        export(tiny, case, backbone=f"dinov2:{dinov2}")
        killed.collect_garbage(keep=1)
        assert sorted(killed.manifest().tasks) == sorted(NAMES) and killed.verify() == []
        assert set(killed.manifest().objects()) == {p.name for p in (case / "objects").iterdir()}


def _objects(bundle: Path) -> int:
    return len(list((bundle / "objects").iterdir()))


def _wait(reached, writer: subprocess.Popen, seconds: float = 120) -> bool:
    """Wait until ``reached`` or the writer's end; say which it was."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if reached():
            return True
        if writer.poll() is not None:
            return reached()
        time.sleep(0.002)
    return False


def test_second_exporter_is_told_who_is_writing(tiny, dinov2, bundle):
    writer = subprocess.Popen(
        command(tiny, bundle, dinov2), env=ENVIRONMENT, stderr=subprocess.PIPE
    )
    lock = bundle / ".lock"
    assert _wait(lambda: lock.read_text() == str(writer.pid), writer)
    with pytest.raises(BundleLocked, match=f"process {writer.pid}; try again"):
        export(tiny, bundle, backbone=f"dinov2:{dinov2}")
    _, errors = writer.communicate()
    assert writer.returncode == 0, errors
    assert sorted(Bundle(bundle).manifest().tasks) == sorted(NAMES)
    assert export(tiny, bundle, backbone=f"dinov2:{dinov2}") == []
