"""Verdicts in a protocol's report, over tasks and over runs, worked by hand."""

from dataclasses import replace

import pytest

from cad_edge_benchmarks.instruments.evaluation import summarise
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_benchmarks.instruments.proportion import clopper_pearson
from cad_edge_benchmarks.protocol.compat import COMPATS
from cad_edge_benchmarks.protocol.learners import Cost, StepMeasurement
from cad_edge_benchmarks.protocol.report import beside, headline
from cad_edge_benchmarks.protocol.run import Run, StepResult
from cad_edge_benchmarks.protocol.summary import run_figures, run_record, widest
from cad_edge_benchmarks.protocol.tables import learners_verdicts, tasks_section
from cad_edge_benchmarks.reporting.headings import VERDICT_COLUMNS
from tests.benchmarks.judged_outcomes import TEN, outcomes
from tests.benchmarks.protocol_tables import table_of, tainted

DEFECTS = [5.0, 8.5, 9.5, 11.0, 20.0]


def run_of(thresholds, seed=0, learner="cad-edge"):
    """Make a run of one step, with one task of ten good and five defective images for each."""
    tasks = {
        f"task{number}": summarise(outcomes(TEN, DEFECTS, threshold), PixelScores(), 0, 0.1)
        for number, threshold in enumerate(thresholds)
    }
    measured = StepMeasurement(
        costs={"model": Cost(seconds=2.0, bytes=5, images=10)},
        kept_bytes=5,
        bundle_bytes=50,
        evaluations=tasks,
    )
    result = StepResult(step=1, tasks=list(tasks), measurement=measured)
    return Run(learner, "given", seed, (tuple(tasks),), (result,))


CAREFUL = run_of([10.0, 8.0])  # finds 2 and 4 of five defects, rejects 0 and 1 of ten good parts
BOLD = run_of([8.0, 4.0], seed=1)  # finds 4 and 5, rejects 1 and 5


def row(section, name):
    table = table_of(section)
    cells = next(cells for first, *cells in table.rows if first == name)
    return dict(zip(table.head[1:], cells, strict=True))


def interval(*counts):
    return "{:.3f} to {:.3f}".format(*clopper_pearson(*counts))


def test_tasks_have_their_intervals_and_all_parts_one_over_all():
    table = tasks_section("cad-edge", [CAREFUL], ())
    assert row(table, "task0") == {
        "defects found": "0.400",
        "false rejects": "0.000",
        "95 % interval": interval(0, 10),
        "perfect threshold": "0.800",
        "lost": "0.400",
        "found of perfect": "0.500",
        "good unknown": "0.000",
        "defective unknown": "0.000",
    }
    whole = row(table, "all parts")
    assert (whole["defects found"], whole["95 % interval"]) == ("0.600", interval(1, 20))
    assert row(table, "mean")["95 % interval"] == ""
    assert row(table, "mean")["found of perfect"] == "0.750"
    summary = table_of(learners_verdicts([CAREFUL], 0.1, ()))
    assert "Stated false-reject rate 10 %." in summary.note


def test_intervals_of_runs_are_not_narrowed_by_counting_an_image_twice():
    table = learners_verdicts([CAREFUL, BOLD], 0.1, ())
    found = row(table, "cad-edge")
    assert found["defects found"] == "0.750 ± 0.212"
    low, high = clopper_pearson(1, 20)[0], clopper_pearson(6, 20)[1]
    assert found["95 % interval"] == f"{low:.3f} to {high:.3f}"
    assert widest([None, (0.1, 0.2)]) == (0.1, 0.2)
    assert widest([None]) is None


def test_the_mean_of_a_run_is_that_of_evaluate():
    figures = run_figures(CAREFUL)
    assert figures["detection_rate"] == pytest.approx((0.4 + 0.8) / 2)
    assert figures["found_of_perfect"] == pytest.approx((0.4 + 0.8) / (0.8 + 0.8))
    assert run_record(CAREFUL)["all_parts"]["false_reject_interval"] == clopper_pearson(1, 20)


def test_the_headline_of_one_run_counts_images():
    assert headline([CAREFUL, run_of([4.0, 4.0], learner="naive")]) == (
        "cad-edge finds 6 of 10 defects (60.0 %) at a stated false-reject rate of 10 %; rejects 1 "
        "of 20 good parts (5.0 %, 95 % interval 0.1 to 24.9 %)."
    )
    calibration, scores = beside([CAREFUL])
    assert (
        "would find 8 of 10 (80.0 %): 20.0 % of the defects are lost by calibration" in calibration
    )
    assert scores.startswith("Image AUROC 0.")


def test_the_headline_of_several_runs_is_their_mean():
    assert headline([CAREFUL, BOLD]) == (
        "cad-edge finds 75.0 ± 21.2 % of the defects at a stated false-reject rate of 10 %; "
        "rejects 17.5 ± 17.7 % of the good parts (mean over 2 runs, 95 % interval 0.1 to 54.3 %)."
    )
    calibration, _ = beside([CAREFUL, BOLD])
    assert "would find 80.0 ± 0.0 %: 5.0 ± 21.2 % of the defects are lost" in calibration


def test_figures_without_routing_are_undefined():
    known = CAREFUL.results[0].measurement.evaluations["task0"]
    one = replace(known, unknown_normal=None, unknown_defective=None)
    measured = CAREFUL.results[0].measurement.model_copy(update={"evaluations": {"task0": one}})
    result = CAREFUL.results[0].model_copy(update={"tasks": ["task0"], "measurement": measured})
    run = replace(CAREFUL, steps=(("task0",),), results=(result,))
    assert row(tasks_section("cad-edge", [run], ()), "task0")["good unknown"] == "undefined"
    assert "unknown_product" not in beside([run])[0]


def test_switches_make_verdicts_red_that_they_touch():
    assert tainted(learners_verdicts([CAREFUL], 0.1, (COMPATS["flip"],))) == set()
    given = learners_verdicts([CAREFUL], 0.1, (COMPATS["task_given"],))
    assert tainted(given) == set(VERDICT_COLUMNS.values())
    assert given.blocks[0].text.startswith("compat_task_given: ")
