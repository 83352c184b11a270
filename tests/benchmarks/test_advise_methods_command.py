"""`cad-edge advise` with several methods, learned for real, and its commands carried out."""

import re
import shlex

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import cad_edge_training.methods
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.advise.method_schema import MethodsAdvice
from cad_edge_training.method import Suitability
from tests.house.refusals import run, sentence
from tests.training.small_products import write_product

METHODS = ("--method", "patch_memory", "--method", "padim")
PRODUCTS = ("checks", "stripes")


class Telling(type(cad_edge_training.methods.load_method("patch_memory"))):
    """patch_memory, as if it said of a product that it does not suit it."""

    def suitability(self, tensors):
        return Suitability(0.1, 0.3, "it explains too little of new parts")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in PRODUCTS:
        write_product(folder, name, good=12, test=1)
    return folder


@pytest.fixture(scope="module")
def out(data, tmp_path_factory):
    place = tmp_path_factory.mktemp("advice") / "out"
    done = run("advise", "--stream", data, *METHODS, "--out", place, "--threads", 1)
    assert done.exit_code == 0, done.output
    (place / "said.txt").write_text(done.stdout)
    return place


def advice(out) -> MethodsAdvice:
    return MethodsAdvice.model_validate_json((out / "advice.json").read_bytes())


@pytest.mark.slow
def test_every_product_has_the_figures_of_both_methods_and_a_reason(out):
    found = advice(out)
    assert [one.name for one in found.products] == list(PRODUCTS)
    for one in found.products:
        assert (one.learned, one.held_out) == (8, 4)
        assert one.methods.keys() == {"patch_memory", "padim"} and one.taken in one.methods
        for figures in one.methods.values():
            assert figures.found.keys() == figures.image_auroc.keys() == {"local", "structural"}
            assert all(0 <= value <= 1 for value in figures.found.values())
            # Blots on a plain texture; no method of the house misses most of them.
            assert figures.image_auroc["local"] > 0.7
    for text in ((out / name).read_text() for name in ("said.txt", "advice.md", "advice.html")):
        assert "Synthetic defects chose here" in text
        assert all(f"{name}, padim" in text for name in PRODUCTS)


@pytest.mark.slow
def test_its_commands_make_one_bundle(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in advice(out).commands:
        done = run(*shlex.split(line)[1:])
        assert done.exit_code == 0, done.output
    tasks = Bundle(tmp_path / "bundle").manifest().tasks
    assert {name: one.method for name, one in tasks.items()} == {
        one.name: one.taken for one in advice(out).products
    }


@pytest.mark.slow
def test_a_second_call_learns_nothing_again_and_hears_what_a_method_says(data, out, monkeypatch):
    """The statement of a method is asked for by its Protocol."""
    kept = {path: path.stat().st_mtime_ns for path in out.glob("learned/*/*/*.json")}
    assert len(kept) == 4
    # A class of its own: isinstance() of a Protocol remembers a class that once passed.
    load = cad_edge_training.methods.load_method
    methods = {"patch_memory": Telling(), "padim": load("padim")}
    monkeypatch.setattr(cad_edge_training.methods, "load_method", methods.__getitem__)
    done = run("advise", "--stream", data, *METHODS, "--out", out, "--threads", 1)
    assert done.exit_code == 0, done.output
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    again = advice(out)
    assert {one.taken for one in again.products} == {"padim"}
    assert all("it explains too little of new parts" in one.reason for one in again.products)
    assert again.products[0].methods["patch_memory"].suitability.value == 0.1
    assert re.search(r"0\.10 \(at\s+least 0\.3\)", done.stdout)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*METHODS, "--method", "padim"], "--method padim is given twice"),
        ([*METHODS], "to compare methods, give a folder by --out"),
        ([*METHODS, "--out", "advice.json"], "to compare methods, give a folder by --out"),
        ([*METHODS, "--axis", "bank"], "--axis goes with one --method"),
        ([*METHODS, "--set", "keys=3"], "--set goes with one --method"),
        ([*METHODS, "--budget-ms", "5"], "--budget-ms goes with one --method"),
        ([*METHODS, "--device", "cpu"], "--device goes with one --method"),
        (["--method", "padim", "--method", "best"], "method 'best' is unknown"),
    ],
)
def test_what_does_not_go_together_is_refused(data, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert said in sentence("advise", "--stream", data, *words)
    assert not list(tmp_path.iterdir())


def test_too_few_parts_are_refused(tmp_path):
    write_product(tmp_path / "data", "checks", good=7)
    said = sentence("advise", "--stream", tmp_path / "data", *METHODS, "--out", tmp_path / "out")
    assert "has 7 images of good parts" in said and said.endswith("; give at least 8")
