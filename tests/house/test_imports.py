"""The import table of CONTRIBUTING.md, read from the sources and tried in a fresh interpreter."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "cad_edge": ROOT / "cad_edge",
    "cad_edge_training": ROOT / "training" / "cad_edge_training",
    "cad_edge_export": ROOT / "export" / "cad_edge_export",
    "cad_edge_runtime": ROOT / "runtime" / "cad_edge_runtime",
    "cad_edge_benchmarks": ROOT / "benchmarks" / "cad_edge_benchmarks",
}
STUDIES = {"cad_edge_studies": ROOT / "benchmarks" / "studies" / "cad_edge_studies"}
SOURCES = [*FOLDERS.values(), *STUDIES.values()]
TEACHERS = {"cad_edge_training", "cad_edge_export"}
OURS = {
    "cad_edge": set(),
    "cad_edge_training": {"cad_edge"},
    "cad_edge_export": {"cad_edge", "cad_edge_training", "cad_edge_runtime"},
    "cad_edge_runtime": {"cad_edge"},
    "cad_edge_benchmarks": {"cad_edge", "cad_edge_runtime", *TEACHERS},
}
BASE = {"numpy", "pydantic", "click", "safetensors", "PIL", "yaml"}
FOREIGN = {
    "cad_edge": BASE | {"cryptography", "imagecodecs", "onnxruntime", "simplejpeg", "tifffile"},
    "cad_edge_runtime": BASE | {"tensorrt", "cuda", "tokenizers"},
}
"""Packages of others that the two device packages may import; the rest may import any."""


def imports(path: Path, deferred: bool = True) -> Iterator[tuple[int, str]]:
    """Yield line and top-level name of every import, or of those outside of functions alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if deferred else tree.body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


def breaches(package: str) -> Iterator[str]:
    for path in sorted(FOLDERS[package].rglob("*.py")):
        for line, name in imports(path):
            if name == package or name in sys.stdlib_module_names:
                continue
            allowed = OURS[package] if name in FOLDERS else FOREIGN.get(package, {name})
            if name not in allowed:
                yield f"{path.relative_to(ROOT)}:{line} imports {name}"


@pytest.mark.parametrize("package", FOLDERS)
def test_package_keeps_the_table(package):
    assert list(breaches(package)) == []


def test_benchmarks_open_the_workshop_late():
    """What only measures a bundle must run on a device, so teaching is imported when it is used."""
    early = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted(FOLDERS["cad_edge_benchmarks"].rglob("*.py"))
        for line, name in imports(path, deferred=False)
        if name in TEACHERS
    ]
    assert early == []


DOOR = ROOT / "cad_edge" / "onnxruntime_installation.py"
PEER = ROOT / "benchmarks/studies/cad_edge_studies/peers/anomalib_worker.py"
"""Runs in an environment without our packages, with the telemetry switched off from outside."""

BY_NAME = {"import_module", "__import__", "importorskip", "reload"}
"""Functions that import what their first argument names."""

IN_TEXT = re.compile(r"^\s*(?:import\s+([\w., ]*,\s*)?onnxruntime\b|from\s+onnxruntime\b)")


def doors(source: str) -> list[int]:
    """Lines that import ONNX Runtime: by statement, by name, or in code that is kept as text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if called in BY_NAME and isinstance(first, ast.Constant):
                names = [str(first.value)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            lines = re.split(r"[\n;]", node.value)
            names = ["onnxruntime" for line in lines if IN_TEXT.match(line)]
        found += [node.lineno for name in names if name.split(".")[0] == "onnxruntime"]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import onnxruntime",
        "import numpy, onnxruntime as ort",
        "import onnxruntime.quantization",
        "def f():\n    from onnxruntime.capi import _pybind_state",
        "import importlib; importlib.import_module('onnxruntime')",
        "from importlib import import_module; import_module('onnxruntime.capi')",
        "__import__('onnxruntime')",
        "import pytest; pytest.importorskip('onnxruntime')",
        "CODE = 'import sys; import onnxruntime; print(1)'",
        'CODE = """\nimport numpy\nfrom onnxruntime import InferenceSession\n"""',
    ],
)
def test_a_second_door_is_found(source):
    assert len(doors(source)) == 1


def test_there_is_one_door_to_onnx_runtime():
    """Imported elsewhere it writes and looks up what it should not; see the door's own words."""
    files = (path for folder in (*SOURCES, ROOT / "tests") for path in folder.rglob("*.py"))
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports onnxruntime, which load_onnxruntime() is for"
        for path in sorted({*files} - {DOOR, PEER, Path(__file__).resolve()})
        for line in doors(path.read_text(encoding="utf-8"))
    ]
    assert wrong == [] and doors(DOOR.read_text(encoding="utf-8"))


def test_sessions_are_made_at_the_door():
    """`open_session` alone: anywhere else what fails would be printed to standard output."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in SOURCES
        for path in sorted({*folder.rglob("*.py")} - {DOOR, PEER})
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        if node.attr == "InferenceSession"
    ]
    assert wrong == []


def module_name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def modules(packages: dict[str, Path]) -> dict[str, Path]:
    """Path of every module of ``packages`` by its dotted name."""
    return {
        module_name(path, folder.parent): path
        for folder in packages.values()
        for path in sorted(folder.rglob("*.py"))
    }


def needed(path: Path, known: Collection[str], deferred: bool = True) -> set[str]:
    """Modules among ``known`` that a file imports, anywhere or only when it is loaded itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if deferred else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            dotted = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in dotted.values()}
    return found & set(known)


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules that still need each other when all that need nothing are taken away."""
    left = {name: set(names) for name, names in graph.items()}
    while ready := {name for name, names in left.items() if not names}:
        left = {name: names - ready for name, names in left.items() if name not in ready}
    return sorted(left)


def test_a_circle_is_found():
    chain = {"a": {"b"}, "b": {"c"}, "c": set()}
    assert find_circle(chain) == []
    assert find_circle(chain | {"c": {"b"}, "d": set()}) == ["a", "b", "c"]


def test_modules_import_in_no_circle():
    known = modules(FOLDERS | STUDIES)
    assert find_circle({n: needed(path, known, deferred=False) for n, path in known.items()}) == []


BELOW = {"instruments": set(), "reporting": {"instruments"}}
"""Which folders of the benchmarks these two may import; a command may import both and itself."""


def test_benchmarks_keep_their_floors():
    """Studies stand above commands, and commands above reporting and instruments."""
    known = modules(FOLDERS | STUDIES)
    wrong = []
    for name, path in modules({"": FOLDERS["cad_edge_benchmarks"]}).items():
        for other in sorted(needed(path, known)):
            package, _, rest = other.partition(".")
            floor = name.split(".")[1] if "." in name else ""
            allowed = {floor} | BELOW.get(floor, set(BELOW))
            if package in STUDIES or (
                package == "cad_edge_benchmarks" and rest.partition(".")[0] not in allowed
            ):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


PROBE = """
import importlib, pkgutil, sys
sys.modules["torch"] = None
for name in {packages!r}:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*sorted({{name.partition(".")[0] for name in sys.modules}} & {unwanted!r}))
"""


def loaded(packages: list[str], unwanted: set[str]) -> list[str]:
    """Import every module of ``packages`` without torch; return which unwanted ones came along."""
    roots = os.pathsep.join(str(FOLDERS[name].parent) for name in FOLDERS)
    probe = PROBE.format(packages=packages, unwanted=unwanted)
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_ground_floor_imports_without_torch_and_onnxruntime():
    slow = {"onnxruntime", "transformers", "onnx", "tifffile", "imagecodecs", "simplejpeg"}
    assert loaded(["cad_edge"], slow) == []


def test_runtime_imports_without_torch():
    assert loaded(["cad_edge_runtime"], {"transformers", "onnx", "scipy", "skimage"}) == []
