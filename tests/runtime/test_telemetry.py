"""ONNX Runtime as this project has it: silent to the outside, on standard output and on error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cad_edge.onnxruntime_installation import load_onnxruntime, open_session

pytestmark = pytest.mark.torchless

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
COMMAND = "from cad_edge.cli import main; main()"
SWITCHES = ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS", "TF_BUILD", "JENKINS_URL")
"""Variables under which ONNX Runtime sends nothing on its own."""


@pytest.fixture
def home(tmp_path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def picture(tmp_path, frames) -> Path:
    path = tmp_path / "red.png"
    Image.fromarray(frames["red.good"][0]).save(path)
    return path


def start(home: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a Python program with a home of its own, and nothing that keeps ONNX Runtime silent."""
    kept = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    folders = {
        "HOME": home,
        "XDG_CACHE_HOME": home / "cache",
        "TMPDIR": home,
        "LOCALAPPDATA": home,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**kept, **{name: str(value) for name, value in folders.items()}},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_inspecting_leaves_nothing_in_the_home(bundle, picture, home):
    done = start(home, COMMAND, "detect", bundle, picture)
    assert json.loads(done.stdout)["verdict"] == "normal" and done.stderr == ""
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_it_is_off_whatever_the_environment_says(bundle, picture, home, value):
    code = f"import os; os.environ['ORT_DISABLE_TELEMETRY'] = {value!r}; {COMMAND}"
    assert start(home, code, "detect", bundle, picture).returncode == 0
    assert list(home.rglob("*")) == []


def test_exporting_and_measuring_leave_nothing(home):
    """The modules that compare graphs with torch, and the sessions that they make."""
    pytest.importorskip("onnx")
    graph = next((GOLDEN / "bundle" / "objects").glob("*/graph.onnx"))
    code = (
        "import sys, cad_edge_benchmarks.advise.command; from pathlib import Path;"
        "from cad_edge_export.certificate import runtime_name;"
        "from cad_edge_export.graph_files import open_graph;"
        "print(len(open_graph({'graph.onnx': Path(sys.argv[1]).read_bytes()}).get_inputs()) > 0);"
        "print(runtime_name())"
    )
    done = start(home, code, graph)
    version = load_onnxruntime().__version__
    assert done.stdout == f"True\nonnxruntime {version} CPUExecutionProvider\n", done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_a_provider_that_fails_is_raised_and_not_printed(bundle, capfd):
    """ONNX Runtime would print it and go on with the CPU, as if that had been asked for."""
    onnxruntime = load_onnxruntime()
    graph = next((bundle / "objects").glob("*/graph.onnx"))
    options = onnxruntime.SessionOptions()
    with pytest.raises(ValueError):
        open_session(onnxruntime, str(graph), options, ["CPUExecutionProvider"], [{}, {}])
    assert capfd.readouterr() == ("", "")


OTHER_GRAPH = """
import sys
import cad_edge_runtime.session as session
inner = session.open_session
def other(onnxruntime, path, *rest):
    return inner(onnxruntime, sys.argv.pop(), *rest)
session.open_session = other
"""


def test_a_graph_that_does_not_load_is_one_sentence(bundle, workshop, picture, home):
    """Nothing of what ONNX Runtime logs stands beside it, in colours or without.

    The checks before a session refuse whatever it would, so it is given a graph behind their back.
    """
    graph = workshop.graph("red")
    assert b"Transpose" in graph
    broken = bundle.parent / "broken.onnx"
    broken.write_bytes(graph.replace(b"Transpose", b"Transport"))
    done = start(home, OTHER_GRAPH + COMMAND, "detect", bundle, picture, broken)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: graph ") and done.stderr.count("\n") == 1


NOISE = """
import os
from cad_edge_runtime.session import GraphSession
inner = GraphSession.run
def noisy(self, outputs, feed):
    print("*************** EP Error ***************")
    os.write(1, b"from below Python\\n")
    return inner(self, outputs, feed)
GraphSession.run = noisy
"""


def test_standard_output_holds_json_whatever_is_printed(bundle, picture, home):
    done = start(home, NOISE + COMMAND, "detect", bundle, picture, picture)
    assert [json.loads(line)["task"] for line in done.stdout.splitlines()] == ["red", "red"]
    assert "EP Error" in done.stderr and "from below Python" in done.stderr


def test_output_that_nobody_reads_any_more(bundle, picture, home):
    """As with `cad-edge detect ... | head -1`: it ends, and says nothing."""
    code = (
        "import os, subprocess, sys; reading, writing = os.pipe(); os.close(reading);"
        f"done = subprocess.run([sys.executable, '-c', {COMMAND!r}, *sys.argv[1:]], stdout=writing,"
        " stderr=subprocess.PIPE, text=True); print(done.returncode, done.stderr)"
    )
    assert start(home, code, "detect", bundle, *[picture] * 20).stdout == "1 \n"


LITTLE = """
import resource, sys
from cad_edge.errors import CadEdgeError
from cad_edge_runtime import Detector
if sys.argv[3] == "loaded":
    from cad_edge.onnxruntime_installation import load_onnxruntime
    load_onnxruntime()
size = next(line for line in open("/proc/self/status") if line.startswith("VmSize"))
limit = int(size.split()[1]) * 1024 + int(sys.argv[2]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    Detector.open(sys.argv[1], threads=int(sys.argv[4]), watch=False)
except CadEdgeError as problem:
    print(type(problem).__name__, problem)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize(
    ("megabytes", "state", "threads", "words"),
    [
        (20, "fresh", 1, "there is not enough memory to load onnxruntime"),
        (1, "loaded", 1, "there is not enough memory"),
        (100, "loaded", 32, "32 threads for each graph cannot all be started"),
    ],
)
def test_little_memory_is_called_that(bundle, home, megabytes, state, threads, words):
    done = start(home, LITTLE, bundle, megabytes, state, threads)
    assert done.stdout.startswith(f"DeviceError {words}"), done.stdout + done.stderr
    assert "not installed" not in done.stdout and "export" not in done.stdout
