"""Which plots each chapter of the page gets."""

from collections.abc import Callable
from dataclasses import dataclass

from cad_edge_benchmarks.benchmark.drawing import (
    Axis,
    Interval,
    Line,
    interval_rows,
    line_plot,
    stacked_bars,
)
from cad_edge_benchmarks.benchmark.single_stream import SELECTION
from cad_edge_benchmarks.instruments.conditions import ScenarioName
from cad_edge_benchmarks.instruments.report_schema import (
    CURVE,
    STAGES,
    Comparison,
    MemoryUse,
    Report,
    ScenarioResult,
)

_MEGABYTE = 1e6
_MEDIANS = "Medians by the number of tasks."
_SIZES = "What a device process holds alone, and what the version takes on the disk."
_OPENED = "From `Detector.open` to the opened detector."
_LAST = CURVE.index(95)  # the largest times of all would press the curve flat


@dataclass(frozen=True)
class Plot:
    """An ``<svg>`` and the sentence below it."""

    drawing: str
    caption: str


def plots_of(key: str, report: Report) -> list[Plot]:
    """Draw the plots of the chapter ``key``; chapters of words have none."""
    if key == "memory" and report.memory is not None:
        return [_memory(report.memory)]
    if key == "comparison" and report.comparison is not None:
        return [_ratios(report.comparison)]
    if key == "scale":
        return _scale(report)
    result = next((one for one in report.scenarios if one.scenario == key), None)
    if result is None:
        return []
    draw: dict[ScenarioName, Callable[[ScenarioResult], list[Plot]]] = {
        "offline": _throughput,
        "cold-start": _start,
    }
    return draw.get(result.scenario, _percentiles)(result)


def _percentiles(result: ScenarioResult) -> list[Plot]:
    lines = [
        Line(one.name, list(zip(CURVE[: _LAST + 1], one.latency.curve[: _LAST + 1], strict=True)))
        for one in result.measurements
        if one.name != SELECTION
    ]
    axis = Axis("percentile", (0, 25, 50, 75, 95))
    description = f"{result.scenario}: time by percentile"
    plots = [
        Plot(
            line_plot(lines, axis, "milliseconds", description),
            "Share of the frames that took at most so long; the slowest 5 % are in the table.",
        )
    ]
    stages = {
        one.name: {stage: one.stages[stage].p50 for stage in STAGES if stage in one.stages}
        for one in result.measurements
        if one.stages
    }
    if stages:
        drawing = stacked_bars(stages, STAGES, "ms", f"{result.scenario}: median of each stage")
        plots.append(Plot(drawing, "Median of each stage, laid end to end."))
    return plots


def _throughput(result: ScenarioResult) -> list[Plot]:
    rates = {one.name: {"frames/s": one.frames_per_second} for one in result.measurements}
    drawing = stacked_bars(rates, ["frames/s"], "/s", "frames per second by batch size")
    return [Plot(drawing, "Frames per second by the size of the batch.")]


def _start(result: ScenarioResult) -> list[Plot]:
    whole, *parts = result.measurements
    shares = {part.name.removeprefix("of it: "): part.latency.p50 for part in parts}
    drawing = stacked_bars({whole.name: shares}, list(shares), "ms", "what a start is made of")
    return [Plot(drawing, "Medians of the parts of a start, laid end to end.")]


def _memory(memory: MemoryUse) -> Plot:
    sizes = {
        "peak resident": memory.peak_rss,
        "resident": memory.rss,
        "proportional": memory.pss,
        "unique": memory.uss,
    }
    rows = {name: {"MB": size.median / _MEGABYTE} for name, size in sizes.items()}
    return Plot(stacked_bars(rows, ["MB"], "MB", "memory of a device process"), "A device process.")


def _scale(report: Report) -> list[Plot]:
    points = report.scale
    counts = [float(point.tasks) for point in points]
    axis = Axis("tasks", counts, is_logarithmic=True)
    result = report.scenario("scale")
    assert result is not None
    frames = [one.latency.p50 for one in result.measurements]
    times = [
        Line("routed frame", list(zip(counts, frames, strict=True))),
        Line("selection alone", [(one.tasks, one.selection.p50) for one in points]),
    ]
    sizes = [
        Line("unique memory", [(one.tasks, one.uss / _MEGABYTE) for one in points]),
        Line("on the disk", [(one.tasks, one.disk / _MEGABYTE) for one in points]),
    ]
    opening = [Line("open the bundle", [(one.tasks, one.open_seconds.median) for one in points])]
    return [
        Plot(line_plot(times, axis, "milliseconds", "time by number of tasks"), _MEDIANS),
        Plot(line_plot(sizes, axis, "MB", "sizes by number of tasks"), _SIZES),
        Plot(line_plot(opening, axis, "seconds", "opening by number of tasks"), _OPENED),
    ]


def _ratios(comparison: Comparison) -> Plot:
    rows = [
        Interval(
            one.name,
            one.ratio,
            one.low,
            one.high,
            "noise" if one.is_noise else "better" if one.ratio < 1 else "worse",
        )
        for one in comparison.differences
    ]
    return Plot(
        interval_rows(rows, "ratios of this run to the earlier one"),
        "Now / then, with its interval: grey is noise, left of the dashed line is less than then.",
    )
