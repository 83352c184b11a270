"""The report for people: sentences, tables and drawings of made-up figures."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cad_edge_benchmarks.benchmark.drawing import (
    Axis,
    Interval,
    Line,
    interval_rows,
    line_plot,
    round_steps,
    stacked_bars,
)
from cad_edge_benchmarks.benchmark.page import render_page
from cad_edge_benchmarks.benchmark.reports import markdown, text
from cad_edge_benchmarks.benchmark.section import short, size
from cad_edge_benchmarks.benchmark.sections import chapters, headline
from cad_edge_benchmarks.instruments.report_schema import (
    Budget,
    Figure,
    Measurement,
    PowerUse,
    ScenarioResult,
)
from cad_edge_benchmarks.instruments.timing import distribution
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
        figures=[Figure(name="threads", value=2, unit="")],
        notes=["A note with <angles> & a | bar."],
        power=power,
    )


def chapter_of(report, key):
    return next(chapter for chapter in chapters(report) if chapter.key == key)


def test_the_headline_is_p90_and_peak():
    report = a_report(scenarios=[single_stream(101)], memory=memory_of_about(172e6))
    assert headline(report) == (
        "Nine frames in ten take at most 1.90 ms (single-stream, routed; median 1.50 ms); "
        "a device process peaks at 172.0 MB."
    )
    assert headline(a_report()) == "No scenario was measured."


@pytest.mark.parametrize(("samples", "said"), [(999, True), (1000, False)])
def test_too_few_samples_for_p99_are_said(samples, said):
    chapter = chapter_of(a_report(scenarios=[single_stream(samples)]), "single-stream")
    assert (chapter.tables[0].rows[0][4] == "-") == said
    sentence = "p99 needs 1,000 samples and is left out (-) where there were fewer."
    assert (sentence in chapter.notes) == said


def test_power_and_verdicts_are_said():
    power = PowerUse(source="INA3221 (VDD_IN)", readings=30, mean_watts=7.25, peak_watts=9)
    chapter = chapter_of(a_report(scenarios=[single_stream(100, power)]), "single-stream")
    assert "Verdicts: routed: 100 normal." in chapter.notes
    assert (
        "Power by INA3221 (VDD_IN): 7.25 W in the mean, 9 W at most, 30 readings." in chapter.notes
    )


def test_budgets_come_first_and_say_what_was_not_kept():
    budgets = [
        Budget(name="p90", limit=20.0, measured=23.456, unit="ms"),
        Budget(name="peak", limit=400.0, measured=400.0, unit="MB"),
    ]
    report = a_report(scenarios=[single_stream(100)]).model_copy(update={"budgets": budgets})
    assert chapters(report)[0].tables[0].rows == [
        ["p90", "20 ms", "23.46 ms", "NOT kept"],
        ["peak", "400 MB", "400 MB", "kept"],
    ]


def test_what_the_system_does_not_tell_is_left_out_or_said():
    ((*_, table),) = [chapter_of(a_report(), "environment").tables]
    rows = dict(table.rows)
    assert rows["governor"] == "performance"
    assert rows["power mode"] == "not told by the system"
    assert "machine" not in rows and "GPU" not in rows
    assert rows["graphs ran on"] == "cpu (CPUExecutionProvider), asked for auto"


def test_a_note_is_escaped_where_it_must_be():
    report = a_report(scenarios=[single_stream(100)])
    assert "A note with &lt;angles&gt; &amp; a | bar." in render_page(report)
    assert "A note with <angles> & a | bar." in markdown(report)
    assert "A note with <angles> & a | bar." in text(report)


def test_a_markdown_cell_keeps_its_bar():
    result = single_stream(100)
    renamed = result.measurements[0].model_copy(update={"name": "a|b"})
    report = a_report(
        scenarios=[result.model_copy(update={"measurements": [renamed], "headline": "a|b"})]
    )
    assert "| a\\|b * | 1.50 |" in markdown(report)


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


@pytest.mark.parametrize("top", [1e-9, 0.037, 0.99, 1.0, 5.2, 14.0, 99.0, 4321.0])
def test_axes_have_a_few_round_steps(top):
    steps = round_steps(top)
    assert steps[0] == 0 and steps[-1] >= top * (1 - 1e-9)
    assert 4 <= len(steps) <= 9
    assert steps[-2] < top
    assert float(f"{steps[1]:.2g}") == pytest.approx(steps[1])


def numbers(drawing, tag, attribute, style):
    root = ElementTree.fromstring(drawing)
    return [
        float(one.attrib[attribute])
        for one in root.iter(tag)
        if style in one.attrib.get("class", "").split()
    ]


def test_a_logarithmic_axis_gives_each_decade_the_same_width():
    axis = Axis("tasks", (1, 10, 100, 1000), is_logarithmic=True)
    places = [axis.place(at) for at in axis.ticks]
    assert np.diff(places) == pytest.approx([np.diff(places)[0]] * 3)
    drawing = line_plot([Line("a <b>", [(1, 0.0), (1000, 5.0)])], axis, "ms", "a & b")
    assert numbers(drawing, "circle", "cx", "f0") == pytest.approx([places[0], places[-1]], abs=0.1)
    low, high = numbers(drawing, "circle", "cy", "f0")
    assert low - high == pytest.approx(220 * 5 / round_steps(5.0)[-1], abs=0.2)


def test_an_axis_of_one_tick_has_a_middle():
    drawing = line_plot([Line("a", [(10, 1.0)])], Axis("tasks", (10,), True), "ms", "one")
    assert re.search(r'cx="\d+\.\d"', drawing)


def test_bars_are_as_long_as_their_parts():
    rows = {"first": {"a": 1.0, "b": 3.0}, "second": {"b": 2.0}}
    drawing = stacked_bars(rows, ["a", "b"], "ms", "bars")
    bars = [width for width in numbers(drawing, "rect", "width", "f1") if width != 12]
    assert bars[0] / bars[1] == pytest.approx(1.5, abs=0.01)
    assert ">4 ms<" in drawing and ">2 ms<" in drawing


def test_intervals_lie_on_both_sides_of_one():
    rows = [
        Interval("slower", 2.0, 1.6, 2.5, "worse"),
        Interval("same", 1.0, 0.9, 1.1, "noise"),
    ]
    drawing = interval_rows(rows, "ratios")
    (middle,) = numbers(drawing, "line", "x1", "unity")
    (same,) = numbers(drawing, "circle", "cx", "noise")
    (left,) = numbers(drawing, "line", "x1", "worse")
    assert same == pytest.approx(middle, abs=0.1)
    assert left > middle
    assert max(numbers(drawing, "line", "x2", "worse")) == pytest.approx(270 + 290, abs=0.1)
