"""Figures over steps, orders and seeds, worked by hand."""

import json
from dataclasses import replace

import pytest

from cad_edge_benchmarks.instruments.evaluation import summarise
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_benchmarks.protocol.compat import COMPATS
from cad_edge_benchmarks.protocol.learners import Cost, StepMeasurement
from cad_edge_benchmarks.protocol.run import Run, StepResult
from cad_edge_benchmarks.protocol.summary import (
    continual_of,
    learner_record,
    run_figures,
    spread,
    summary_of,
    task_summary,
)
from cad_edge_benchmarks.protocol.tables import (
    all_sections,
    learners_costs,
    learners_scores,
    matrix_section,
    models_costs,
    tasks_section,
)
from cad_edge_benchmarks.reporting.document import Warn
from tests.benchmarks.protocol_tables import table_of, tainted

NOTHING = summarise([], PixelScores(), 0, 0.05)
COST = Cost(seconds=2.0, bytes=500_000, images=10)


def evaluation(auroc, **more):
    return replace(NOTHING, image_auroc=auroc, image_f1=0.5, **more)


def run_of(steps, rows, seed=0, order="given", learner="cad-edge"):
    """Make a run from image AUROCs: ``rows[n]`` holds those of all tasks after step n."""
    results, names = [], []
    for number, (step, row) in enumerate(zip(steps, rows, strict=True), 1):
        names += step
        if row is None:
            continue
        measured = StepMeasurement(
            costs=dict.fromkeys(names, COST),
            kept_bytes=500_000 * len(names),
            bundle_bytes=20_000_000,
            evaluations={name: evaluation(auroc) for name, auroc in zip(names, row, strict=True)},
        )
        results.append(StepResult(step=number, tasks=list(step), measurement=measured))
    return Run(learner, order, seed, tuple(tuple(step) for step in steps), tuple(results))


BASE_OF_TWO = run_of([["a", "b"], ["c"], ["d"]], [[0.9, 0.8], [0.7, 0.9, 0.6], [0.8, 0.6, 0.7, 1]])


def test_continual_metrics_of_a_base_with_two_tasks():
    """The identities of METHODS 0.2: forgetting counts stages, averages begin where a task does."""
    found = continual_of(BASE_OF_TWO, "image_auroc")
    assert found.matrix == [[0.9, 0.8, None, None], [0.7, 0.9, 0.6, None], [0.8, 0.6, 0.7, 1.0]]
    assert found.a_auroc == pytest.approx((0.8 + 0.6 + 0.7 + 1) / 4)
    assert found.a_auroc_by_step == pytest.approx((0.7 + 0.7 + 1) / 3)
    assert found.fm == pytest.approx(((0.9 - 0.8) + (0.9 - 0.6) + (0.6 - 0.7)) / 3)
    assert found.average["a"] == pytest.approx((0.9 + 0.7 + 0.8) / 3)
    assert found.average["d"] == found.last["d"] == 1.0
    assert found.bwt["b"] == pytest.approx(((0.9 - 0.8) + (0.6 - 0.8)) / 2)
    assert found.bwt["d"] is None
    assert found.mean_bwt == pytest.approx(
        (((0.7 - 0.9) + (0.8 - 0.9)) / 2 + ((0.9 - 0.8) + (0.6 - 0.8)) / 2 + 0.1) / 3
    )


def test_a_figure_that_is_never_defined():
    found = continual_of(BASE_OF_TWO, "pixel_auroc")
    assert found.a_auroc is None and found.fm is None and found.mean_average is None
    assert set(found.last.values()) == {None}


def test_the_last_step_alone():
    found = continual_of(run_of([["a"], ["b"]], [None, [0.6, 0.8]]), "image_auroc")
    assert found.matrix == [[0.6, 0.8]]
    assert found.a_auroc == found.a_auroc_by_step == pytest.approx(0.7)
    assert found.fm is found.mean_average is found.mean_bwt is None
    assert found.average == {"a": None, "b": None}


def test_one_step_alone_forgets_nothing_that_could_be_measured():
    found = continual_of(run_of([["a", "b"]], [[0.6, 0.8]]), "image_auroc")
    assert found.fm is None and found.mean_bwt is None
    assert found.mean_average == pytest.approx(0.7)


def test_spread_is_that_of_a_sample():
    found = spread([0.7, 0.8, None, 0.9])
    assert (found.mean, found.deviation, found.runs) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    assert spread([0.7]).deviation is None
    assert spread([None]).mean is None


def test_runs_in_other_orders_meet_task_by_task():
    backwards = run_of([["b"], ["a"]], [[0.5], [0.7, 0.9]], order="reversed")
    runs = [run_of([["a"], ["b"]], [[0.8], [0.6, 0.8]]), backwards]
    by_task = task_summary(runs)
    assert by_task["a"]["image_auroc"].mean == pytest.approx((0.6 + 0.9) / 2)
    assert by_task["b"]["image_auroc"].mean == pytest.approx((0.8 + 0.7) / 2)
    fm = summary_of(runs)["fm"]
    assert fm.mean == pytest.approx(((0.8 - 0.6) + (0.5 - 0.7)) / 2)
    assert fm.deviation == pytest.approx(0.2 * 2**0.5)


def test_costs_count_every_model_once():
    figures = run_figures(BASE_OF_TWO)
    assert figures["models"] == 4
    assert figures["seconds_per_model"] == 2.0
    assert figures["kept_bytes_per_task"] == 500_000


def test_the_record_is_json_without_nan():
    text = json.dumps(learner_record([BASE_OF_TWO]), allow_nan=False)
    assert json.loads(text)["runs"][0]["continual"]["image_auroc"]["matrix"][0][2] is None


def test_tables_say_undefined_and_leave_the_future_blank():
    table = table_of(matrix_section(BASE_OF_TWO, "image_auroc", ()))
    assert table.rows[0] == ("step 1", "0.900", "0.800", "", "")
    assert table.rows[-1] == ("BWT", "-0.150", "-0.050", "0.100", "undefined")
    assert table.note.startswith("FM 0.100.")
    summary = table_of(learners_scores([BASE_OF_TWO], ()))
    shown = dict(zip(summary.head, summary.rows[0], strict=True))
    assert (shown["A-AUROC"], shown["FM"]) == ("0.775", "0.100")
    assert shown["AUPRO"] == shown["routed good"] == "undefined"


def test_several_runs_are_shown_with_their_deviation():
    runs = [run_of([["a"]], [[0.7]], seed=0), run_of([["a"]], [[0.9]], seed=1)]
    assert table_of(tasks_section("cad-edge", runs, ()), 1).rows[0][1] == "0.800 ± 0.141"
    assert "over 2 runs" in table_of(learners_scores(runs, ())).note


def test_pixel_matrices_are_left_out_where_no_map_is_judged():
    titles = [section.title for section in all_sections([BASE_OF_TWO], 0.05, ())]
    assert sum("image AUROC by step" in title for title in titles) == 1
    assert not any("pixel AUROC by step" in title for title in titles)


def test_a_switch_makes_the_columns_red_that_it_touches():
    flip = (COMPATS["flip"],)
    summary = learners_scores([BASE_OF_TWO], flip)
    assert tainted(summary) == {"A-AUROC", "FM", "Avg", "BWT", "pixel AUROC", "pixel FM"}
    assert summary.blocks[0] == Warn(COMPATS["flip"].warning)
    assert tainted(matrix_section(BASE_OF_TWO, "image_auroc", flip)) == {"a", "b"}
    assert tainted(matrix_section(BASE_OF_TWO, "aupro", flip)) == set()
    assert len(matrix_section(BASE_OF_TWO, "aupro", flip).blocks) == 1


def test_costs_of_every_model_of_every_learner():
    naive = run_of([["a"], ["b"]], [[0.5], [0.5, 0.5]], learner="naive")
    rows = [row[:2] for row in table_of(models_costs([BASE_OF_TWO, naive])).rows]
    ours = [("cad-edge", name) for name in "abcd"]
    assert rows == [*ours, ("naive", "a"), ("naive", "b")]
    assert [row[0] for row in table_of(learners_costs([BASE_OF_TWO, naive])).rows] == [
        "cad-edge",
        "naive",
    ]


def test_a_terminal_shows_the_tasks_of_the_first_learner_alone():
    naive = run_of([["a"], ["b"]], [[0.5], [0.5, 0.5]], learner="naive")
    shown = [one.title for one in all_sections([BASE_OF_TWO, naive], 0.05, ()) if one.in_terminal]
    assert "cad-edge: tasks after the last step" in shown
    assert not any(title.startswith("naive") for title in shown)
