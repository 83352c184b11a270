"""Two reports against each other, and budgets."""

import json

import click
import numpy as np
import pytest

from cad_edge.errors import OptionError
from cad_edge.options import positive
from cad_edge.schema import canonical_json
from cad_edge_benchmarks.benchmark.comparison import (
    ComparedFigure,
    PreviousReport,
    compare,
    difference,
    quartiles,
    read_previous_report,
)
from cad_edge_benchmarks.instruments.budgets import judge_budgets
from cad_edge_benchmarks.instruments.report_schema import Measurement, ScenarioResult, Spread
from cad_edge_benchmarks.instruments.timing import distribution
from tests.benchmarks.benchmark_reports import a_report, memory_of_about


def timed(milliseconds, reference=None):
    """A report whose single-stream took ``milliseconds`` (n,), beside ``reference``."""
    times = distribution((np.asarray(milliseconds) * 1e6).astype(np.int64))
    routed = Measurement(
        name="routed", latency=times, frames_per_second=100.0, stages={}, verdicts={}
    )
    seen = None if reference is None else Spread(median=reference, low=reference, high=reference)
    result = ScenarioResult(
        scenario="single-stream",
        headline="routed",
        measurements=[routed],
        figures=[],
        notes=[],
        reference_workload=seen,
    )
    return a_report(scenarios=[result], memory=None)


def only_difference(new, old):
    (found,) = compare(new, PreviousReport("old.json", old)).differences
    return found


def test_the_interval_is_that_of_the_quartiles_of_stretches():
    before = ComparedFigure("ms", Spread(median=10.0, low=9.0, high=12.0))
    after = ComparedFigure("ms", Spread(median=15.0, low=14.0, high=18.0))
    found = difference("x", before, after)
    assert found.ratio == 1.5
    assert found.low == pytest.approx(14 / 12 / 1.03)
    assert found.high == pytest.approx(18 / 9 * 1.03)
    assert not found.is_noise


def test_a_machine_that_slowed_down_as_much_takes_the_difference_upon_itself():
    slow = Spread(median=2.0, low=1.9, high=2.1)
    before = ComparedFigure("ms", Spread(median=10.0, low=10.0, high=10.0))
    after = ComparedFigure("ms", Spread(median=20.0, low=20.0, high=20.0), slow)
    found = difference("x", before, after)
    assert (found.ratio, found.machine) == (2.0, 2.0)
    assert found.low == pytest.approx(2 / 2.1 / 1.03)
    assert found.high == pytest.approx(2 * 1.03)
    assert found.is_noise


def test_quartiles_are_of_the_stretches_and_hold_the_median():
    # Stretches of ten frames each: medians 1, 2, ... 10, whose quartiles are 3.25 and 7.75.
    times = distribution(np.repeat(np.arange(1, 11), 10) * 1_000_000)
    assert quartiles(times) == Spread(median=5.5, low=3.25, high=7.75)


def test_runs_of_one_distribution_are_noise_and_a_tenth_more_is_not(rng):
    def run(factor):
        return timed(rng.gamma(50, 0.1, 400) * factor)

    same = [only_difference(run(1.0), run(1.0)).is_noise for _ in range(200)]
    slower = [only_difference(run(1.1), run(1.0)) for _ in range(200)]
    assert np.mean(same) > 0.95
    assert np.mean([not one.is_noise and one.ratio > 1 for one in slower]) > 0.9


def test_slow_phases_of_a_run_are_noise(rng):
    """A bootstrap over frames would call this a difference: half of one run had a neighbour."""
    old = timed(np.concatenate([rng.normal(10, 0.2, 200), rng.normal(13, 0.2, 200)]))
    new = timed(np.concatenate([rng.normal(10, 0.2, 300), rng.normal(13, 0.2, 100)]))
    found = only_difference(new, old)
    assert found.ratio < 0.95
    assert found.is_noise


def test_a_slower_run_beside_the_same_reference_is_a_difference():
    found = only_difference(timed([12.0] * 100, reference=1.0), timed([10.0] * 100, reference=1.0))
    assert (found.ratio, found.is_noise) == (pytest.approx(1.2), False)


def test_memory_is_compared_by_what_was_seen_least_and_most():
    old = a_report(scenarios=[], memory=memory_of_about(100e6))
    new = a_report(scenarios=[], memory=memory_of_about(150e6))
    found = {one.name: one for one in compare(new, PreviousReport("old.json", old)).differences}
    peak = found["memory: peak resident"]
    assert (peak.before, peak.after) == (100e6, 150e6)
    assert peak.low == pytest.approx(150e6 * 0.99 / (100e6 * 1.01) / 1.03)
    assert not peak.is_noise


def test_what_only_one_report_has_is_named():
    comparison = compare(a_report(memory=None), PreviousReport("old.json", timed([1.0] * 100)))
    assert comparison.missing == ["single-stream (not measured now)"]


def test_a_measurement_that_only_one_report_has_is_named():
    old, new = timed([1.0] * 100), timed([1.0] * 100)
    (result,) = new.scenarios
    further = result.measurements[0].model_copy(update={"name": "task given"})
    measurements = [*result.measurements, further]
    new = new.model_copy(
        update={"scenarios": [result.model_copy(update={"measurements": measurements})]}
    )
    assert compare(new, PreviousReport("old.json", old)).missing == [
        "single-stream: task given (not measured then)"
    ]


def test_the_same_conditions_are_not_mentioned():
    assert compare(a_report(), PreviousReport("old.json", a_report())).unlike == []


def test_another_machine_is_named_with_both_values():
    old, new = a_report(), a_report()
    changed = {"cpu": "Other 3", "cores": 8, "versions": {"numpy": "1.26"}, "governor": None}
    new = new.model_copy(update={"environment": new.environment.model_copy(update=changed)})
    assert compare(new, PreviousReport("old.json", old)).unlike == [
        "another machine: cpu was Tester 9, now Other 3",
        "another machine: cores was 2, now 8",
        "another system: governor was performance, now not told",
        "another system: versions numpy was 2.4, now 1.26",
    ]


def test_another_bundle_device_and_frames_are_named():
    old = a_report()
    new = old.model_copy(
        update={
            "provider": "CUDAExecutionProvider",
            "settings": old.settings.model_copy(update={"threads": 4}),
            "frames": old.frames.model_copy(update={"sizes": ["64x64"]}),
            "bundle": old.bundle.model_copy(
                update={"graphs": [*old.bundle.graphs[:1], "f" * 64], "tasks": ["a"]}
            ),
        }
    )
    assert compare(new, PreviousReport("old.json", old)).unlike == [
        "another device: provider was CPUExecutionProvider, now CUDAExecutionProvider",
        "other settings: threads was 2, now 4",
        "other frames: sizes was 224x224, now 64x64",
        "another bundle: tasks was 2, now 1",
        "another bundle: 1 of 2 graphs are those of the other run",
    ]


def test_a_report_is_read_back_as_it_was_written(tmp_path):
    report = timed([1.0, 2.0, 3.0])
    (tmp_path / "one.json").write_bytes(canonical_json(report))
    previous = read_previous_report(tmp_path / "one.json")
    assert (previous.report, previous.foreign) == (report, ())


def test_a_report_that_calls_the_reference_workload_a_yardstick_is_read(tmp_path):
    report = timed([1.0, 2.0, 3.0], reference=2.0)
    record = json.loads(canonical_json(report))
    (scenario,) = record["scenarios"]
    scenario["yardstick"] = scenario.pop("reference_workload")
    (tmp_path / "old.json").write_text(json.dumps(record))
    previous = read_previous_report(tmp_path / "old.json")
    assert (previous.report, previous.foreign) == (report, ())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not a report of `cad-edge benchmark`"),
        ("[" * 100_000, "is not a report of `cad-edge benchmark`"),
        ("[1]", "is not a report of `cad-edge benchmark`"),
        ('{"kind": "latency", "format": 1}', "is not a report of `cad-edge benchmark`"),
        (
            '{"kind": "cad-edge benchmark", "format": 2}',
            "cannot be compared with: made_at: Field required",
        ),
        ('{"kind": "cad-edge benchmark", "format": 1}', "cannot be compared with: made_at"),
        ("\udcff", "is not a report of `cad-edge benchmark`"),
    ],
)
def test_what_is_no_report_is_one_sentence(content, sentence, tmp_path):
    path = tmp_path / "old.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(OptionError, match=sentence) as problem:
        read_previous_report(path)
    assert str(path) in str(problem.value) and "\n" not in str(problem.value)


def test_another_schema_is_compared_as_far_as_it_is_understood_and_named(tmp_path):
    path = tmp_path / "old.json"
    report = timed([2.0] * 100).model_copy(update={"memory": memory_of_about(1e8)})
    record = json.loads(canonical_json(report))
    record["format"] = 7
    record["colour"] = "red"
    record["environment"]["altitude"] = 400
    record["scenarios"].append({"scenario": "triathlon", "headline": "swim"})
    record["memory"].pop("peak_rss")
    path.write_text(json.dumps(record))
    found = compare(timed([1.0] * 100), read_previous_report(path))
    assert found.unlike == [
        "another schema: format was 7, this version reads 1",
        "another schema: environment.altitude is left out",
        "another schema: colour is left out",
        "another schema: scenarios triathlon is left out",
        "another schema: memory is left out",
    ]
    (one,) = found.differences
    assert (one.name, one.ratio) == ("single-stream: routed", 0.5)


def test_a_missing_report_is_one_sentence(tmp_path):
    with pytest.raises(OptionError, match="cannot be read: No such file"):
        read_previous_report(tmp_path / "none.json")


def test_budgets_are_held_against_p90_and_peak():
    single = timed([*range(1, 101)]).scenario("single-stream")
    found = judge_budgets(90.0, 100.0, single, memory_of_about(100e6))
    assert [(one.measured, one.kept) for one in found] == [
        (pytest.approx(90.1), False),
        (100.0, True),
    ]
    assert judge_budgets(None, None, single, memory_of_about(1e6)) == []


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_is_a_number_above_zero(value):
    with pytest.raises(OptionError, match=r"--budget-ms .* give a number above 0"):
        positive(click.Context(click.Command("any")), click.Option(["--budget-ms"]), value)
