"""The study of chosen methods: what it lays out, against figures worked by hand."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from cad_edge_benchmarks.advise.method_schema import MethodsAdvice
from cad_edge_benchmarks.instruments.environment import describe_environment
from cad_edge_benchmarks.instruments.evaluation import summarise
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_studies.method_choice.__main__ import (
    CHOSEN,
    better_of_each,
    evaluate_lines,
    lay_out,
    must_reach,
    table,
)
from tests.benchmarks.judged_outcomes import TEN, outcomes

WEAK = summarise(outcomes(TEN, [float(n) + 0.5 for n in range(10)], 8.5), PixelScores(), 0, 0.1)
"""AUROC (1 + ... + 10) / 100 = .55; one of ten defects above the threshold in force."""
STRONG = summarise(outcomes(TEN, [20.0] * 10, 8.5), PixelScores(), 0, 0.1)


def advice(**taken) -> MethodsAdvice:
    asked = {"data": "d", "methods": ["a", "b"], "backbone": "x", "seed": 0, "threads": 1}
    products = [
        {
            **{"name": name, "path": "p", "learned": 8, "held_out": 4, "methods": {}},
            **{"refused": {}, "taken": method, "reason": f"{method} finds more"},
        }
        for name, method in taken.items()
    ]
    record = {
        **{"made_at": "now", "asked": asked, "data_sha256": "0" * 64, "commands": []},
        **{"stated_false_reject_rate": 0.1, "products": products},
    }
    return MethodsAdvice.model_validate(record | {"environment": describe_environment(None)})


@pytest.fixture
def evaluated():
    """Each method is strong on one product; the chosen line is right on both."""
    return {
        "a": {"cap": STRONG, "cord": WEAK},
        "b": {"cap": WEAK, "cord": STRONG},
        CHOSEN: {"cap": STRONG, "cord": STRONG},
    }


def test_the_better_of_each_product_bounds_what_a_choice_can_reach(evaluated):
    assert better_of_each(evaluated) == 1
    evaluated["b"]["cord"] = replace(STRONG, image_auroc=None)
    assert better_of_each(evaluated) == pytest.approx((1 + 0.55) / 2)


def test_the_chosen_line_is_held_against_the_better_method_alone(evaluated):
    level, ahead = must_reach(evaluated)
    assert (level.value, level.reached) == (1, True)
    assert ahead.value == pytest.approx(1 - (1 + 0.55) / 2) and ahead.reached
    level, behind = must_reach(evaluated | {CHOSEN: evaluated["a"]})
    assert (level.reached, behind.reached) == (False, False)
    assert behind.value == pytest.approx(0)


def test_figures_stand_by_product_and_line(evaluated):
    found = lay_out(evaluated, advice(cap="a", cord="b"))
    assert found["products"]["cord"]["taken"] == "b"
    assert found["products"]["cord"]["evaluated"]["a"]["detection_rate"] == pytest.approx(0.1)
    assert found["mean"][CHOSEN]["image_auroc"] == 1
    assert found["mean"]["a"]["image_auroc"] == pytest.approx(0.775)
    shown = table(evaluated, advice(cap="a", cord="b")).splitlines()
    assert shown[-1].split() == ["mean", *["0.550", "0.775"] * 2, "1.000", "1.000"]


def test_the_chosen_line_is_exported_of_the_artifacts_that_were_chosen(tmp_path, monkeypatch):
    class Learned:
        threads = 1

        def __init__(self, method):
            self.artifacts = [tmp_path / method / name for name in ("cap", "cord")]

        def export(self, artifacts, bundle):
            exported[bundle.name] = [str(path.relative_to(tmp_path)) for path in artifacts]
            return bundle

    exported = {}
    study = "cad_edge_studies.method_choice.__main__.evaluate_bundle"
    monkeypatch.setattr(study, lambda bundle, stream, threads: {"bundle": bundle.name})
    learned = {method: Learned(method) for method in ("a", "b")}
    found = evaluate_lines(learned, advice(cap="b", cord="a"), tmp_path, None)
    assert exported == {
        "a": ["a/cap", "a/cord"],
        "b": ["b/cap", "b/cord"],
        CHOSEN: ["b/cap", "a/cord"],
    }
    assert found[CHOSEN] == {"bundle": CHOSEN}
