"""ONNX Runtime missing or there several times: said by the command line on a device."""

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
    assert said.startswith('Error: onnxruntime is not installed; run `pip install "cad-edge[cpu]"`')


@pytest.mark.parametrize("command", ["tasks", "verify"])
def test_looking_after_a_bundle_needs_no_onnxruntime(command):
    assert start(WITHOUT + COMMAND, command, GOLDEN) == (0, "")


def wheels_in(folder: Path, *others: str) -> Path:
    """Leave the traces of onnxruntime and of ``others`` in ``folder``."""
    for name in ("onnxruntime", *others):
        traces = folder / f"{name}-1.25.0.dist-info"
        traces.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.25.0\n"
        (traces / "METADATA").write_text(text)
    return folder


@pytest.mark.parametrize("other", ["gpu", "openvino"])
def test_two_wheels_at_once(tmp_path, other):
    wheels = wheels_in(tmp_path, f"onnxruntime_{other}")
    status, said = start(COMMAND, "detect", GOLDEN, tmp_path, wheels=wheels)
    assert status == 1 and said.count("\n") == 1
    assert f"`pip uninstall onnxruntime onnxruntime-{other}`" in said
    assert f"install one of cad-edge[cpu] and cad-edge[{other}]" in said


def test_three_wheels_at_once(tmp_path):
    wheels = wheels_in(tmp_path, "onnxruntime_gpu", "onnxruntime_openvino")
    status, said = start(COMMAND, "detect", GOLDEN, tmp_path, wheels=wheels)
    assert status == 1
    assert "`pip uninstall onnxruntime onnxruntime-gpu onnxruntime-openvino`" in said


def test_two_wheels_are_refused_before_exporting(tmp_path):
    pytest.importorskip("onnx")
    artifacts = tmp_path / "artifacts"
    (artifacts / "red").mkdir(parents=True)
    golden = GOLDEN.parent / "artifact.json"
    (artifacts / "red" / "artifact.json").write_bytes(golden.read_bytes())
    bundle = tmp_path / "bundle"
    status, said = start(
        COMMAND,
        "export",
        artifacts,
        "--bundle",
        bundle,
        wheels=wheels_in(tmp_path, "onnxruntime_gpu"),
    )
    assert status == 1 and "installed together" in said
    assert not bundle.exists()
