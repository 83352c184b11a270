"""ONNX Runtime missing, or there twice: said by the command line as it is started on a device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torchless

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "bundle"
COMMAND = "from cad_edge.cli import main; main()"
WITHOUT = "import sys; sys.modules['onnxruntime'] = None; "


def start(code: str, *arguments: object, wheels: Path | None = None) -> tuple[int, str]:
    """Exit status and error output of a command in a process of its own."""
    folders = [*([str(wheels)] if wheels else []), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def test_missing_onnxruntime_says_what_to_install(tmp_path):
    status, said = start(WITHOUT + COMMAND, "detect", GOLDEN, tmp_path)
    assert status == 1 and said.count("\n") == 1
    assert said.startswith("Error: onnxruntime is not installed; run `pip install cad-edge[cpu]`")


@pytest.mark.parametrize("command", ["tasks", "verify"])
def test_looking_after_a_bundle_needs_no_onnxruntime(command):
    assert start(WITHOUT + COMMAND, command, GOLDEN) == (0, "")


def test_both_wheels_at_once(tmp_path):
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-1.25.0.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.25.0\n"
        (folder / "METADATA").write_text(text)
    status, said = start(COMMAND, "detect", GOLDEN, tmp_path, wheels=tmp_path)
    assert status == 1 and said.count("\n") == 1
    assert "both installed" in said and "`pip uninstall onnxruntime onnxruntime-gpu`" in said
