"""The plots of each section of the report."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cad_edge_benchmarks.benchmark.single_stream import SELECTION
from cad_edge_benchmarks.instruments.conditions import ScenarioName
from cad_edge_benchmarks.instruments.report_schema import (
    CURVE,
    STAGES,
    Comparison,
    ScalePoint,
    ScenarioResult,
)
from cad_edge_benchmarks.reporting.document import Figure
from cad_edge_benchmarks.reporting.plots import (
    BAD,
    GOOD,
    SOFT,
    TEXT,
    Curve,
    PlotAxis,
    line_plot,
    plot,
    stacked_bars,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MEGABYTE = 1e6
_LAST = CURVE.index(95)  # the largest times of all would press the curve flat


def scenario_plots(result: ScenarioResult) -> list[Figure]:
    """Draw a scenario; `scale` is drawn by `scale_plots`."""
    draw: dict[ScenarioName, Callable[[ScenarioResult], list[Figure]]] = {
        "offline": _throughput,
        "cold-start": _start,
        "scale": lambda _: [],
    }
    return draw.get(result.scenario, _percentiles)(result)


def _percentiles(result: ScenarioResult) -> list[Figure]:
    curves = [
        Curve(one.name, list(zip(CURVE[: _LAST + 1], one.latency.curve[: _LAST + 1], strict=True)))
        for one in result.measurements
        if one.name != SELECTION
    ]
    axis = PlotAxis("percentile", (0, 25, 50, 75, 95))
    drawn = line_plot(curves, axis, "milliseconds", f"{result.scenario}: time by percentile")
    caption = "Share of the frames that took at most so long; the slowest 5 % are in the table."
    figures = [Figure(drawn, caption)]
    stages = {
        one.name: {stage: one.stages[stage].p50 for stage in STAGES if stage in one.stages}
        for one in result.measurements
        if one.stages
    }
    if stages:
        drawn = stacked_bars(stages, STAGES, "ms", f"{result.scenario}: median of each stage")
        figures.append(Figure(drawn, "Median of each stage, laid end to end."))
    return figures


def _throughput(result: ScenarioResult) -> list[Figure]:
    rates = {one.name: {"frames/s": one.frames_per_second} for one in result.measurements}
    drawn = stacked_bars(rates, ["frames/s"], "/s", "frames per second by batch size")
    return [Figure(drawn, "Frames per second by the size of the batch.")]


def _start(result: ScenarioResult) -> list[Figure]:
    whole, *parts = result.measurements
    shares = {part.name.removeprefix("of it: "): part.latency.p50 / 1e3 for part in parts}
    drawn = stacked_bars({whole.name: shares}, list(shares), "s", "what a start is made of")
    return [Figure(drawn, "Medians of the parts of a start, laid end to end.")]


def scale_plots(result: ScenarioResult, points: list[ScalePoint]) -> list[Figure]:
    """Draw times, sizes and opening by the number of tasks."""
    counts = [float(point.tasks) for point in points]
    axis = PlotAxis("tasks", counts, is_logarithmic=True)
    frames = [one.latency.p50 for one in result.measurements]
    times = [
        Curve("routed frame", list(zip(counts, frames, strict=True))),
        Curve("selection alone", [(one.tasks, one.selection.p50) for one in points]),
    ]
    sizes = [
        Curve("unique memory", [(one.tasks, one.uss / _MEGABYTE) for one in points]),
        Curve("on the disk", [(one.tasks, one.disk / _MEGABYTE) for one in points]),
    ]
    opening = [Curve("open the bundle", [(one.tasks, one.open_seconds.median) for one in points])]
    drawn = [
        line_plot(times, axis, "milliseconds", "time by number of tasks"),
        line_plot(sizes, axis, "MB", "sizes by number of tasks"),
        line_plot(opening, axis, "seconds", "opening by number of tasks"),
    ]
    captions = (
        "Medians by the number of tasks.",
        "What a device process holds alone, and what the version takes on the disk.",
        "From `Detector.open` to the opened detector.",
    )
    return [Figure(svg, caption) for svg, caption in zip(drawn, captions, strict=True)]


def ratio_plot(comparison: Comparison) -> list[Figure]:
    """Draw every ratio with its interval, on a logarithmic axis around 1."""
    rows = comparison.differences
    if not rows:
        return []
    reach = max([1.25, *(max(row.high, 1 / row.low) for row in rows if row.low > 0)])

    def draw(axes: "Axes") -> None:
        axes.axvline(1, color=TEXT, linestyle="--", linewidth=1)
        for place, row in enumerate(rows):
            colour = SOFT if row.is_noise else GOOD if row.ratio < 1 else BAD
            ends = [max(row.low, 1 / reach), row.high]
            axes.plot(ends, [place, place], color=colour)
            axes.plot([row.ratio], [place], "o", color=colour, markersize=7)
            axes.text(1.2 * reach, place, f"{row.ratio:.3f}", va="center", fontweight="bold")
        axes.set_xscale("log")
        axes.set_xlim(1 / reach, reach)
        axes.set_xticks([1 / reach, 1, reach], [f"{tick:.2f}" for tick in (1 / reach, 1, reach)])
        axes.set_xticks([], minor=True)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False)

    size = (640, 50 + 28 * len(rows))
    drawn = plot(draw, size, "ratios of this run to the earlier one")
    caption = (
        "Now / then, with its interval: grey is noise, left of the dashed line is less than then."
    )
    return [Figure(drawn, caption)]
