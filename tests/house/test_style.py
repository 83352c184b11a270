"""The habits of CONTRIBUTING.md that a linter does not know."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for folder in ("cad_edge", "training", "export", "runtime", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
VAGUE = {"utils", "util", "common", "helpers", "helper", "misc"}


def test_sources_are_found():
    assert len(SOURCES) > 5


def test_files_are_named_for_nouns_of_the_domain():
    named = [path for path in SOURCES if VAGUE & {path.stem, path.parent.name}]
    assert named == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_signatures_swallow_nothing(path):
    """A misspelt option must be an error, and ``**kwargs`` makes it none."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    lines = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, functions) and node.args.kwarg is not None
    ]
    assert lines == []
