"""The report for people: sentences, tables and drawings of made-up figures."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cad_edge_benchmarks.benchmark.plots import ratio_plot
from cad_edge_benchmarks.benchmark.report import document, headline
from cad_edge_benchmarks.benchmark.report_tables import short, size
from cad_edge_benchmarks.instruments.report_schema import (
    Budget,
    Comparison,
    Difference,
    Measurement,
    NamedFigure,
    PowerUse,
    ScenarioResult,
)
from cad_edge_benchmarks.instruments.timing import distribution
from cad_edge_benchmarks.reporting.document import Cell, Table, markdown, text
from cad_edge_benchmarks.reporting.html_document import render
from tests.benchmarks.benchmark_reports import a_report, memory_of_about


def single_stream(samples, power=None):
    times = np.linspace(1, 2, samples) * 1e6
    routed = Measurement(
        name="routed",
        latency=distribution(times.astype(np.int64)),
        frames_per_second=660.0,
        stages={},
        verdicts={"normal": samples},
    )
    return ScenarioResult(
        scenario="single-stream",
        headline="routed",
        measurements=[routed],
        figures=[NamedFigure(name="threads", value=2, unit="")],
        notes=["A note with <angles> & a | bar."],
        power=power,
    )


def blocks_of(report, key):
    return next(one.blocks for one in document(report).sections if one.key == key)


def tables_of(report, key):
    return [block for block in blocks_of(report, key) if isinstance(block, Table)]


def test_the_headline_is_p90_and_peak():
    report = a_report(scenarios=[single_stream(101)], memory=memory_of_about(172e6))
    assert headline(report) == (
        "Nine frames in ten take at most 1.90 ms (single-stream, routed; median 1.50 ms); "
        "a device process peaks at 172.0 MB."
    )
    assert headline(a_report()) == "No scenario was measured."


@pytest.mark.parametrize(("samples", "said"), [(999, True), (1000, False)])
def test_too_few_samples_for_p99_are_said(samples, said):
    table, *_ = tables_of(a_report(scenarios=[single_stream(samples)]), "single-stream")
    assert (table.rows[0][4] == "-") == said
    assert ("p99 needs 1,000 samples." in table.note) == said


def test_power_and_verdicts_are_said():
    power = PowerUse(source="INA3221 (VDD_IN)", readings=30, mean_watts=7.25, peak_watts=9)
    blocks = blocks_of(a_report(scenarios=[single_stream(100, power)]), "single-stream")
    assert "Verdicts: routed: 100 normal." in blocks
    assert "Power by INA3221 (VDD_IN): 7.25 W in the mean, 9 W at most, 30 readings." in blocks


def test_budgets_come_first_and_say_what_was_not_kept():
    budgets = [
        Budget(name="p90", limit=20.0, measured=23.456, unit="ms"),
        Budget(name="peak", limit=400.0, measured=400.0, unit="MB"),
    ]
    report = a_report(scenarios=[single_stream(100)]).model_copy(update={"budgets": budgets})
    assert document(report).sections[0].key == "budgets"
    (table,) = tables_of(report, "budgets")
    assert table.rows == [
        ["p90", "20 ms", "23.46 ms", Cell("NOT kept", "miss")],
        ["peak", "400 MB", "400 MB", Cell("kept", "hit")],
    ]


def test_what_the_system_does_not_tell_is_left_out_or_said():
    (table,) = tables_of(a_report(), "environment")
    rows = dict(table.rows)
    assert rows["governor"] == "performance"
    assert rows["power mode"] == "not told by the system"
    assert "machine" not in rows and "GPU" not in rows
    assert rows["graphs ran on"] == "cpu (CPUExecutionProvider), asked for auto"


def test_a_note_is_escaped_where_it_must_be():
    found = document(a_report(scenarios=[single_stream(100)]))
    assert "A note with &lt;angles&gt; &amp; a | bar." in render(found)
    assert "A note with <angles> & a | bar." in markdown(found)
    assert "A note with <angles> & a | bar." in text(found)


def test_a_markdown_cell_keeps_its_bar():
    result = single_stream(100)
    renamed = result.measurements[0].model_copy(update={"name": "a|b"})
    report = a_report(
        scenarios=[result.model_copy(update={"measurements": [renamed], "headline": "a|b"})]
    )
    assert "| a\\|b * | 1.50 |" in markdown(document(report))


def test_targets_are_held_against_what_was_measured():
    (routed,) = single_stream(100).measurements
    result = ScenarioResult(
        scenario="backbone",
        headline="routed",
        measurements=[routed],
        figures=[NamedFigure(name="routed / backbone alone, median", value=1.5, unit="x")],
        notes=[],
    )
    report = a_report(scenarios=[result], memory=memory_of_about(100e6))
    (table,) = tables_of(report, "targets")
    answers = {row[0]: row[-1] for row in table.rows}
    assert answers.pop("routed frame / backbone alone, median") == "NOT reached"
    assert answers.pop("resident memory of a device") == "reached"
    assert set(answers.values()) == {"not measured"}
    without = document(a_report(scenarios=[single_stream(100)]))
    assert "targets" not in {one.key for one in without.sections}


@pytest.mark.parametrize(
    ("value", "shown"), [(0.01234, "0.012"), (1.5, "1.50"), (123.456, "123.5"), (4.0, "4")]
)
def test_numbers_are_short(value, shown):
    assert short(value) == shown


def test_bytes_have_a_unit_that_suits_them():
    assert [size(count) for count in (0, 1500, 2_500_000, 3e10)] == [
        "0.0 kB",
        "1.5 kB",
        "2.5 MB",
        "30.0 GB",
    ]


def difference(name, ratio, low, high):
    return Difference(
        name=name, unit="ms", before=1, after=ratio, ratio=ratio, machine=1, low=low, high=high
    )


def ends_of(drawing, colour):
    """Horizontal ends of every line of a colour."""
    paths = ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}path")
    shapes = [path.get("d") for path in paths if f"stroke: {colour}" in path.get("style", "")]
    points = [shape.replace("M", "L").split("L")[1:] for shape in shapes]
    return [tuple(float(point.split()[0]) for point in one) for one in points if len(one) == 2]


def test_intervals_lie_on_both_sides_of_one():
    rows = [difference("slower", 2.0, 1.6, 2.5), difference("same", 1.0, 0.8, 1.25)]
    comparison = Comparison(against="x", made_at="then", unlike=[], differences=rows, missing=[])
    (figure,) = ratio_plot(comparison)
    assert ">slower<" in figure.svg and ">2.000<" in figure.svg
    ((left, right),) = ends_of(figure.svg, "var(--soft)")
    ((low, high),) = ends_of(figure.svg, "var(--bad)")
    middle = (left + right) / 2  # the axis is logarithmic
    assert low > middle
    assert (high - middle) / (right - middle) == pytest.approx(np.log(2.5) / np.log(1.25), 0.01)
