"""The chapters of a report, in the order in which a reader wants them."""

from collections.abc import Sequence

from cad_edge_benchmarks.benchmark.scenario_section import scenario_chapter
from cad_edge_benchmarks.benchmark.section import Chapter, Table, short, size
from cad_edge_benchmarks.instruments.conditions import Environment
from cad_edge_benchmarks.instruments.report_schema import (
    Budget,
    Comparison,
    Difference,
    MemoryUse,
    Report,
    Spread,
)


def headline(report: Report) -> str:
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


def chapters(report: Report) -> list[Chapter]:
    """Every chapter that the report has something for."""
    found = [_budgets(report.budgets)] if report.budgets else []
    if report.comparison is not None:
        found.append(_comparison(report.comparison))
    found += [scenario_chapter(one, report.scale) for one in report.scenarios]
    if report.memory is not None:
        found.append(_memory(report.memory))
    if report.skipped:
        notes = tuple(f"{name}: {reason}." for name, reason in report.skipped.items())
        found.append(Chapter("skipped", "Not measured", (), notes))
    return [*found, _environment(report)]


def _memory(memory: MemoryUse) -> Chapter:
    sizes = {
        "peak resident (RSS)": memory.peak_rss,
        "resident (RSS)": memory.rss,
        "proportional (PSS)": memory.pss,
        "unique (USS)": memory.uss,
    }
    rows = [[name, *_sizes(spread)] for name, spread in sizes.items()]
    if memory.gpu is not None:
        rows.append(["GPU memory of the measuring process", size(memory.gpu), "", ""])
    note = (
        f"Of {memory.processes} device processes, started one after another: a detector and "
        "nothing else, after one frame was judged with every task given."
    )
    return Chapter(
        "memory", "Memory", (Table(("memory", "median", "least", "most"), rows),), (note,)
    )


def _sizes(spread: Spread) -> list[str]:
    return [size(value) for value in (spread.median, spread.low, spread.high)]


def _budgets(budgets: Sequence[Budget]) -> Chapter:
    rows = [
        [
            one.name,
            f"{one.limit:g} {one.unit}",
            f"{short(one.measured)} {one.unit}",
            "kept" if one.kept else "NOT kept",
        ]
        for one in budgets
    ]
    return Chapter("budgets", "Budgets", (Table(("budget", "limit", "measured", ""), rows),), ())


def _comparison(comparison: Comparison) -> Chapter:
    rows = [_difference_row(one) for one in comparison.differences]
    notes = [f"Unlike: {sentence}." for sentence in comparison.unlike]
    if comparison.missing:
        notes.append(f"In one of the two reports only: {', '.join(comparison.missing)}.")
    notes.append(
        f"Against {comparison.against}, made at {comparison.made_at}. A ratio is now / then, and "
        "noise where its interval holds 1. The interval is that of the quartiles of the medians of "
        "ten stretches of each run (of memory and openings: of the least and the most), extended "
        "by the machine's own change in speed, as a yardstick beside each scenario saw it, and by "
        "3 %."
    )
    head = ("figure", "then", "now", "machine", "ratio", "interval", "")
    return Chapter("comparison", "Against an earlier run", (Table(head, rows),), tuple(notes))


def _difference_row(one: Difference) -> list[str]:
    return [
        one.name,
        _with_unit(one.before, one.unit),
        _with_unit(one.after, one.unit),
        f"{one.machine:.3f}",
        f"{one.ratio:.3f}",
        f"{one.low:.3f} to {one.high:.3f}",
        "noise" if one.is_noise else "less" if one.ratio < 1 else "more",
    ]


def _inputs(recipe: tuple[int, int], further: Sequence[tuple[int, int]]) -> str:
    """Say what size the selector takes, and which others some of the engines."""
    others = " and ".join(f"{width}x{height}" for width, height in further)
    return f"{recipe[0]}x{recipe[1]} px" + (f"; of some products {others} px" if others else "")


def _with_unit(value: float, unit: str) -> str:
    return size(value) if unit == "B" else f"{short(value)} {unit}"


def _environment(report: Report) -> Chapter:
    bundle, frames, settings = report.bundle, report.frames, report.settings
    shown = f"{frames.frames} {'images' if frames.source == 'images' else 'synthetic frames'} of "
    shown += f"{', '.join(frames.sizes[:3])} px"
    if frames.found > frames.frames:
        shown += f", evenly chosen of {frames.found} images"
    rows = [
        ["graphs ran on", f"{report.device} ({report.provider}), asked for {settings.device}"],
        ["threads of each graph", str(settings.threads)],
        ["frames", shown],
        ["bundle", f"version {bundle.version}, manifest {bundle.manifest[:12]}"],
        ["tasks", f"{len(bundle.tasks)} ({', '.join(bundle.layouts)}, "
         f"{', '.join(bundle.precisions)}, selector {bundle.selector})"],
        ["input", _inputs(bundle.recipe, bundle.further_recipes)],
        ["bundle on the disk", size(bundle.disk)],
        *([f"graph {at + 1}", sha] for at, sha in enumerate(bundle.graphs)),
        *_machine_rows(report.environment),
        ["made at", report.made_at],
        ["least duration and samples", f"{settings.seconds:g} s and {settings.samples}"],
        ["seed", str(settings.seed)],
    ]  # fmt: skip
    return Chapter(
        "environment", "Measured on", (Table(("what", "value"), rows, is_list=True),), ()
    )


def _machine_rows(machine: Environment) -> list[list[str]]:
    """Rows of what the system tells; of governor and power mode also that it does not."""
    untold = "not told by the system"
    gpus = [f"{gpu.name}, driver {gpu.driver}, {size(gpu.memory)}" for gpu in machine.gpus]
    rows: list[tuple[str, str | None]] = [
        ("machine", machine.model),
        ("processor", f"{machine.cpu}, {machine.cores} cores used"),
        ("instructions", ", ".join(machine.instructions)),
        ("memory", size(machine.memory_bytes)),
        *(("GPU", gpu) for gpu in gpus),
        ("system", f"{machine.system}, Python {machine.python}"),
        ("board support package", machine.release),
        ("governor", machine.governor or untold),
        ("power mode", machine.power_mode or untold),
        ("load when it began", f"{machine.load:g}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in machine.versions.items())),
    ]
    return [[name, value] for name, value in rows if value]
