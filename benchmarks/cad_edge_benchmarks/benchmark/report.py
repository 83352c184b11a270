"""The report for people: the sections of a run, in the order in which a reader wants them."""

from collections.abc import Iterator, Sequence

from cad_edge_benchmarks.benchmark.hot_load import LOST, SLOWEST, WRONG
from cad_edge_benchmarks.benchmark.plots import (
    ratio_plot,
    scale_plots,
    scenario_plots,
)
from cad_edge_benchmarks.benchmark.report_tables import (
    environment_table,
    latency_table,
    scale_table,
    short,
    size,
    stage_tables,
    with_unit,
)
from cad_edge_benchmarks.benchmark.scaling import DISK_PER_TASK, RAM_PER_TASK
from cad_edge_benchmarks.benchmark.single_stream import BACKBONE_RATIO
from cad_edge_benchmarks.instruments.conditions import ScenarioName
from cad_edge_benchmarks.instruments.report_schema import (
    BenchmarkReport,
    Budget,
    Comparison,
    Difference,
    Measurement,
    MemoryUse,
    ScenarioResult,
)
from cad_edge_benchmarks.reporting.document import Block, Cell, Document, Section, Table, Warn
from cad_edge_benchmarks.reporting.targets import HEAD as TARGET_HEAD
from cad_edge_benchmarks.reporting.targets import Target, target_rows

_MANY = 100  # tasks of the version that targets are held against
_DECODED = (
    "Frames are decoded beforehand, as a camera hands them over: the stage decode is part of the "
    "way from a file to its verdict alone."
)
_AIM = (
    "What cad-edge aims at with its default method at one input size; other bundles may be larger "
    "and slower."
)
_DIFFERENCE_HEAD = ("figure", "then", "now", "machine", "ratio", "interval", "")


def document(report: BenchmarkReport) -> Document:
    """Lay out a run."""
    return Document(
        "cad-edge benchmark", headline(report), tuple(_lead(report)), tuple(_sections(report))
    )


def headline(report: BenchmarkReport) -> str:
    """Say the most important figures in one sentence."""
    parts = []
    single = report.scenario("single-stream")
    if single is not None:
        main = single.measured(single.headline)
        parts.append(
            f"nine frames in ten take at most {short(main.latency.p90)} ms "
            f"(single-stream, {single.headline}; median {short(main.latency.p50)} ms)"
        )
    else:
        parts += [
            f"{one.scenario}, {one.headline}: p90 "
            f"{short(one.measured(one.headline).latency.p90)} ms"
            for one in report.scenarios[:1]
        ]
    if report.memory is not None:
        parts.append(f"a device process peaks at {size(report.memory.peak_rss.median)}")
    said = "; ".join(parts) or "no scenario was measured"
    return f"{said[0].upper()}{said[1:]}."


def _lead(report: BenchmarkReport) -> Iterator[Block]:
    gpus = "".join(f", {gpu.name}" for gpu in report.environment.gpus)
    yield (
        f"{report.environment.cpu}{gpus}; graphs ran on {report.provider} with "
        f"{report.settings.threads} threads; {len(report.bundle.tasks)} tasks; {report.made_at}."
    )
    if report.frames.note:
        yield report.frames.note


def _sections(report: BenchmarkReport) -> Iterator[Section]:
    if report.budgets:
        yield Section("budgets", "Budgets", (_budgets(report.budgets),))
    if report.comparison is not None:
        blocks = tuple(_comparison(report.comparison))
        yield Section("comparison", "Against an earlier run", blocks)
    for result in report.scenarios:
        blocks = tuple(_scenario(result, report))
        yield Section(result.scenario, result.scenario.capitalize(), blocks)
    if report.memory is not None:
        yield Section("memory", "Memory", tuple(_memory(report.memory)))
    if report.scenario("backbone") is not None:
        rows = target_rows(list(targets(report)))
        yield Section("targets", "Targets", (_AIM, Table(TARGET_HEAD, rows)))
    if report.skipped:
        reasons = tuple(f"{name}: {reason}." for name, reason in report.skipped.items())
        yield Section("skipped", "Not measured", reasons)
    yield Section("environment", "Measured on", (environment_table(report),))


def targets(report: BenchmarkReport) -> Iterator[Target]:
    """Hold what was measured against what cad-edge aims at; None for what was not measured."""
    figures = {
        (result.scenario, figure.name): figure.value
        for result in report.scenarios
        for figure in result.figures
    }
    known: list[tuple[str, ScenarioName, str, float, str]] = [
        ("routed frame / backbone alone, median", "backbone", f"{BACKBONE_RATIO}, median", 1.4, ""),
        ("memory per further task", "scale", RAM_PER_TASK, 1, "MB"),
        ("disk per further task", "scale", DISK_PER_TASK, 1, "MB"),
        ("new version answers, slowest", "hot-load", SLOWEST, 200, "ms"),
        ("frames lost at an arrival", "hot-load", LOST, 0, ""),
        ("frames wrong at an arrival", "hot-load", WRONG, 0, ""),
    ]
    for what, scenario, name, limit, unit in known:
        yield Target(what, "at most", limit, figures.get((scenario, name)), unit)
    point = next((one for one in report.scale if one.tasks == _MANY), None)
    opened, ratio = (point.open_seconds.median, point.ratio.median) if point else (None, None)
    fewer = f" / {point.compared_with}" if point else ""
    yield Target(f"opening {_MANY} tasks", "at most", 2, opened, "s")
    yield Target(f"routed frame, {_MANY}{fewer} tasks, median", "at most", 1.1, ratio)
    started = report.scenario("cold-start")
    first = started.measured(started.headline).latency.p50 / 1e3 if started else None
    yield Target("process start to first verdict", "at most", 1.5, first, "s")
    resident = report.memory.rss.median / 1e6 if report.memory else None
    yield Target("resident memory of a device", "at most", 250, resident, "MB")


def _budgets(budgets: Sequence[Budget]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            one.name,
            f"{one.limit:g} {one.unit}",
            with_unit(one.measured, one.unit),
            Cell("kept", "hit") if one.kept else Cell("NOT kept", "miss"),
        ]
        for one in budgets
    ]
    return Table(("budget", "limit", "measured", ""), rows)


def _comparison(comparison: Comparison) -> Iterator[Block]:
    if comparison.unlike:
        yield Warn("The two runs differ in more than their figures.")
        yield Table(("", ""), [one.split(": ", 1) for one in comparison.unlike], is_list=True)
    yield from ratio_plot(comparison)
    yield Table(_DIFFERENCE_HEAD, [_difference_row(one) for one in comparison.differences])
    if comparison.missing:
        yield f"In one of the two reports only: {', '.join(comparison.missing)}."
    yield (
        f"Against {comparison.against}, made at {comparison.made_at}. A ratio is now / then, and "
        "noise where its interval holds 1. The interval is that of the quartiles of the medians of "
        "ten stretches of each run (of memory and openings: of the least and the most), extended "
        "by the machine's own change in speed, as a reference workload beside each scenario saw "
        "it, and by 3 %."
    )


def _difference_row(one: Difference) -> list[str]:
    return [
        one.name,
        with_unit(one.before, one.unit),
        with_unit(one.after, one.unit),
        f"{one.machine:.3f}",
        f"{one.ratio:.3f}",
        f"{one.low:.3f} to {one.high:.3f}",
        "noise" if one.is_noise else "less" if one.ratio < 1 else "more",
    ]


def _scenario(result: ScenarioResult, report: BenchmarkReport) -> Iterator[Block]:
    measured = result.measurements
    is_scale = result.scenario == "scale"
    yield from scale_plots(result, report.scale) if is_scale else scenario_plots(result)
    yield latency_table(measured, result.headline)
    if is_scale:
        yield scale_table(report.scale)
    yield from stage_tables(measured)
    if result.figures:
        rows = [[one.name, with_unit(one.value, one.unit)] for one in result.figures]
        yield Table(("figure", "value"), rows)
    yield from result.notes
    yield from _verdicts(measured)
    if any("decode" in one.stages for one in measured):
        yield _DECODED
    if result.power is not None:
        yield (
            f"Power by {result.power.source}: {short(result.power.mean_watts)} W in the mean, "
            f"{short(result.power.peak_watts)} W at most, {result.power.readings} readings."
        )


def _verdicts(measurements: Sequence[Measurement]) -> Iterator[str]:
    said = [
        f"{one.name}: " + ", ".join(f"{count} {verdict}" for verdict, count in one.verdicts.items())
        for one in measurements
        if one.verdicts
    ]
    if said:
        yield f"Verdicts: {'; '.join(said)}."


def _memory(memory: MemoryUse) -> Iterator[Block]:
    sizes = {
        "peak resident (RSS)": memory.peak_rss,
        "resident (RSS)": memory.rss,
        "proportional (PSS)": memory.pss,
        "unique (USS)": memory.uss,
    }
    rows = [
        [name, *map(size, (spread.median, spread.low, spread.high))]
        for name, spread in sizes.items()
    ]
    if memory.gpu is not None:
        rows.append(["GPU memory of the measuring process", size(memory.gpu), "", ""])
    yield Table(("memory", "median", "least", "most"), rows)
    yield (
        f"Of {memory.processes} device processes, started one after another: a detector and "
        "nothing else, after one frame was judged with every task given."
    )
