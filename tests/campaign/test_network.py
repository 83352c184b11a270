"""Nothing is looked up, sent or written anywhere else: every system call of real commands is read.

ONNX Runtime looks up its collector's name about nine seconds after it was imported, so the whole
campaign keeps the process alive for longer than that.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
COMMAND = "from cad_edge.cli import main; main()"
STAYING = """
import sys, time
from cad_edge_runtime import Detector
with Detector.open(sys.argv[1]) as detector:
    print(detector.detect(sys.argv[2]).verdict)
    time.sleep(float(sys.argv[3]))
"""
SWITCHES = ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS", "TF_BUILD", "JENKINS_URL")
"""Variables under which ONNX Runtime is silent on its own."""

CALLS = "connect,sendto,sendmsg,sendmmsg,socket,open,openat,creat,mkdir,mkdirat,rename,renameat2"
TALK = re.compile(r"AF_INET6?\b|htons\((53|80|443)\)")
WRITTEN = re.compile(r'(?:open|openat|creat|mkdir|mkdirat)\((?:[^"]*)"([^"]*)"(.*)')
HARMLESS = ("/dev/", "/proc/")

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed; install it to see system calls"
)


@pytest.fixture
def home(tmp_path) -> Path:
    """A home, a cache, a folder for temporary files and one to work in, all of them empty."""
    for name in ("home", "temporary", "work"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def frame(tmp_path) -> Path:
    path = tmp_path / "red.png"
    Image.fromarray(load_file(GOLDEN / "frames.safetensors")["red.good"][0]).save(path)
    return path


def watched(home: Path, code: str, *arguments: object) -> list[str]:
    """System calls of a Python program that ends well."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in SWITCHES},
        "HOME": str(home / "home"),
        "XDG_CACHE_HOME": str(home / "home" / "cache"),
        "TMPDIR": str(home / "temporary"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    trace = home / "trace"
    strace = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(trace)]
    done = subprocess.run(
        [*strace, sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        cwd=home / "work",
        capture_output=True,
        text=True,
        timeout=600,
    )
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip("strace may not look at processes here")
    assert done.returncode == 0, done.stderr
    return trace.read_text(errors="replace").splitlines()


def written(calls: list[str]) -> set[str]:
    """Paths that were opened to write, or made."""
    found = set()
    for call in calls:
        match = WRITTEN.search(call)
        if match is None or " = -1 " in call:
            continue
        path, rest = match.groups()
        makes = "mkdir" in call or "creat(" in call
        if makes or "O_WRONLY" in rest or "O_RDWR" in rest or "O_CREAT" in rest:
            found.add(path)
    return {path for path in found if not path.startswith(HARMLESS)}


def traces_left(home: Path) -> list[Path]:
    return [path for name in ("home", "temporary", "work") for path in (home / name).rglob("*")]


def test_a_device_looks_up_and_writes_nothing(home, frame, record, pytestconfig):
    seconds = 15 if pytestconfig.getoption("--whole-campaign") else 0
    calls = watched(home, STAYING, GOLDEN / "bundle", frame, seconds)
    talk = [call for call in calls if TALK.search(call)]
    record("network", {"seconds": seconds, "look_ups": len(talk), "files": len(written(calls))})
    assert talk == []
    assert written(calls) == set()
    assert traces_left(home) == []


@pytest.mark.parametrize("words", [["detect"], ["tasks"], ["verify"]], ids=" ".join)
def test_commands_of_a_device(home, frame, words):
    arguments = [*words, GOLDEN / "bundle", *([frame] if words == ["detect"] else [])]
    calls = watched(home, COMMAND, *arguments)
    assert [call for call in calls if TALK.search(call)] == []
    assert written(calls) == set()
    assert traces_left(home) == []


def test_heat_maps_are_all_that_detect_writes(home, frame):
    out = home / "maps"
    calls = watched(home, COMMAND, "detect", GOLDEN / "bundle", frame, "--heatmaps", out)
    assert {path for path in written(calls) if not path.startswith(str(out))} == set()
    assert sorted(path.name for path in out.iterdir()) == [".cad-edge-heatmaps", "red.png"]
    assert traces_left(home) == []


def test_learning_and_exporting_look_nothing_up(home, pytestconfig, rng):
    """With weights that a package brings; the hub is asked only for a backbone named by its id."""
    if not pytestconfig.getoption("--whole-campaign"):
        pytest.skip("takes a minute; `make campaign` runs it")
    good = home / "images" / "bracket" / "train" / "good"
    good.mkdir(parents=True)
    for number in range(20):
        pixels = np.clip(rng.normal((200, 60, 40), 12, (64, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(good / f"{number}.png")
    stream, artifacts, bundle = good.parents[1], home / "artifacts", home / "bundle"
    for words in (
        ["train", "--stream", stream, "--out", artifacts, "--size", "64"],
        ["export", artifacts, "--bundle", bundle],
    ):
        calls = watched(home, COMMAND, *words)
        assert [call for call in calls if TALK.search(call)] == []
        left = traces_left(home)  # torch makes an empty folder for what it might compile
        assert [path for path in left if path.is_file()] == []
