"""The code that readers copy: README's Python blocks and the examples of the public functions."""

import doctest
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import cad_edge_export
import cad_edge_runtime
import cad_edge_training
from cad_edge.errors import DatasetError, OptionError
from tests.training.small_products import write_product

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = (
    cad_edge_training.learn,
    cad_edge_training.TrainingResult,
    cad_edge_export.export,
    cad_edge_export.ExportResult,
    cad_edge_runtime.Detector,
    cad_edge_runtime.Detection,
    cad_edge_runtime.Defect,
)
"""In the order of their running: each goes on from the files that those before have left."""


@pytest.fixture
def line(tmp_path, monkeypatch) -> Path:
    """Working folder with ``images/bracket``, as README asks for it, and ``photo.png``."""
    product = write_product(tmp_path, "stripes")
    (tmp_path / "images").mkdir()
    product = product.rename(tmp_path / "images" / "bracket")
    shutil.copy(product / "test" / "good" / "000.png", tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks() -> list[str]:
    """Python blocks of README.md, in their order."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)


def test_quickstart_is_short():
    assert len(blocks()[0].splitlines()) < 10


def test_readme_ends_with_a_verdict(line, capsys):
    """Blocks run one after another, as a reader would paste them into one file."""
    names: dict[str, object] = {}
    for block in blocks():
        exec(compile(block, "README.md", "exec"), names)
    assert names["found"].verdict == "normal"
    assert names["found"].task == "bracket"
    assert capsys.readouterr().out.count("normal bracket") == len(blocks())


@pytest.mark.slow
def test_examples_say_what_comes_out(line):
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    for documented in EXAMPLES:
        # Only the name itself is known to the examples; they import what else they need.
        known = {documented.__name__: documented}
        for example in finder.find(documented, documented.__name__, globs=known):
            runner.run(example)
    results = runner.summarize(verbose=False)
    assert results.attempted > 15
    assert results.failed == 0


def test_packages_refuse_other_names():
    for package in (cad_edge_training, cad_edge_export):
        assert not hasattr(package, "lern")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 8}, "--size 8"),
        ({"seed": -1}, "--seed -1"),
        ({"size": "auto", "budget_ms": 0}, "--budget-ms 0"),
        ({"false_reject_rate": 1.5}, "false_reject_rate is 1.5"),
    ],
)
def test_learn_refuses_what_the_command_refuses(line, options, said):
    with pytest.raises(OptionError, match=said):
        cad_edge_training.learn("images/bracket", **options)


def test_learn_refuses_folders_that_are_not_products(line):
    with pytest.raises(DatasetError, match="is not a folder"):
        cad_edge_training.learn(["images/bracket", "images/cover"])
    with pytest.raises(DatasetError, match="the same name"):
        cad_edge_training.learn(["images/bracket", "./images/bracket"])
    with pytest.raises(DatasetError, match="at least one"):
        cad_edge_training.learn([])


def test_a_stream_states_its_own_rate(line):
    stream = cad_edge_training.product_training.stream_of("images/bracket", 0.1)
    assert stream.false_reject_rate == 0.1
    with pytest.raises(OptionError, match="states its own"):
        cad_edge_training.learn(stream, false_reject_rate=0.1)


@pytest.mark.parametrize("name", ["layout", "precision", "selector"])
def test_export_refuses_unknown_choices(line, name):
    with pytest.raises(OptionError, match=f"--{name} other: give one of"):
        cad_edge_export.export(**{name: "other"})
