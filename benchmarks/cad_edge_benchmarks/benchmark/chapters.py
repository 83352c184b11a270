"""A report as chapters of sentences and tables, from which terminal, Markdown and HTML are made."""

from collections.abc import Sequence
from dataclasses import dataclass

from cad_edge_benchmarks.benchmark.schema import (
    P99_SAMPLES,
    STAGES,
    Budget,
    Environment,
    Measurement,
    MemoryUse,
    Report,
    ScalePoint,
    ScenarioResult,
    Spread,
)

_LATENCY_HEAD = ("milliseconds", "p50", "p90", "p95", "p99", "max", "samples", "per second")
_LITTLE_P99 = f"p99 needs {P99_SAMPLES:,} samples and is left out (-) where there were fewer."


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is words, the others are numbers unless it is a list."""

    head: tuple[str, ...]
    rows: list[list[str]]
    is_list: bool = False
    """Whether each row is a name and words."""


@dataclass(frozen=True)
class Chapter:
    """A part of the report."""

    key: str
    title: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...]


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
    found = [_scenario(one, report.scale) for one in report.scenarios]
    if report.memory is not None:
        found.append(_memory(report.memory))
    if report.budgets:
        found.append(_budgets(report.budgets))
    if report.skipped:
        notes = tuple(f"{name}: {reason}." for name, reason in report.skipped.items())
        found.append(Chapter("skipped", "Not measured", (), notes))
    return [*found, _environment(report)]


def short(value: float) -> str:
    """Write a number with three digits or so, a whole one without a point."""
    digits = 0 if value == int(value) else 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1
    return f"{value:.{digits}f}"


def size(count: float) -> str:
    """Write bytes with a unit that suits them."""
    for unit, bytes_of_it in (("GB", 1e9), ("MB", 1e6)):
        if count >= bytes_of_it:
            return f"{count / bytes_of_it:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _scenario(result: ScenarioResult, scale: Sequence[ScalePoint]) -> Chapter:
    rows = [_latency_row(one, one.name == result.headline) for one in result.measurements]
    tables = [Table(_LATENCY_HEAD, rows)]
    if result.scenario == "scale":
        tables.append(scale_table(scale))
    tables += stage_tables(result.measurements)
    if result.figures:
        rows = [[one.name, f"{short(one.value)} {one.unit}".strip()] for one in result.figures]
        tables.append(Table(("figure", "value"), rows))
    notes = [*result.notes, *_verdicts(result.measurements)]
    if any(one.latency.p99 is None for one in result.measurements):
        notes.append(_LITTLE_P99)
    if result.power is not None:
        notes.append(
            f"Power by {result.power.source}: {short(result.power.mean_watts)} W in the mean, "
            f"{short(result.power.peak_watts)} W at most, {result.power.readings} readings."
        )
    return Chapter(result.scenario, result.scenario.capitalize(), tuple(tables), tuple(notes))


def _latency_row(one: Measurement, is_headline: bool) -> list[str]:
    latency = one.latency
    return [
        f"{one.name} *" if is_headline else one.name,
        short(latency.p50),
        short(latency.p90),
        short(latency.p95),
        "-" if latency.p99 is None else short(latency.p99),
        short(latency.maximum),
        str(latency.samples),
        short(one.frames_per_second),
    ]


def stage_tables(measurements: Sequence[Measurement]) -> list[Table]:
    """Median of each stage, with the 90th percentile in brackets; no table without stages."""
    rows = [
        [one.name, *(_stage(one, stage) for stage in STAGES)] for one in measurements if one.stages
    ]
    return [Table(("stages, p50 (p90), ms", *STAGES), rows)] if rows else []


def _stage(one: Measurement, stage: str) -> str:
    time = one.stages.get(stage)
    return "-" if time is None else f"{short(time.p50)} ({short(time.p90)})"


def scale_table(points: Sequence[ScalePoint]) -> Table:
    """One row for each number of tasks."""
    head = ("tasks", "frame, ratio (quartiles)", "selection p50, ms", "p99", "opens in", "resident")
    rows = [
        [
            str(one.tasks),
            f"{one.ratio.median:.3f} ({one.ratio.low:.3f} to {one.ratio.high:.3f})",
            short(one.selection.p50),
            "-" if one.selection.p99 is None else short(one.selection.p99),
            f"{short(one.open_seconds.median)} s",
            size(one.rss),
            size(one.uss),
            size(one.disk),
        ]
        for one in points
    ]
    return Table((*head, "unique", "on the disk"), rows)


def _verdicts(measurements: Sequence[Measurement]) -> list[str]:
    said = [
        f"{one.name}: " + ", ".join(f"{count} {verdict}" for verdict, count in one.verdicts.items())
        for one in measurements
        if one.verdicts
    ]
    return ["Verdicts: " + "; ".join(said) + "."] if said else []


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
        ["input", f"{bundle.recipe[0]}x{bundle.recipe[1]} px"],
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
