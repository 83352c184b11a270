"""Tables of the report: times, stages, numbers of tasks, and what was measured on."""

from collections.abc import Sequence

from cad_edge_benchmarks.instruments.conditions import Environment
from cad_edge_benchmarks.instruments.report_schema import (
    P99_SAMPLES,
    STAGES,
    BenchmarkReport,
    Measurement,
    ScalePoint,
)
from cad_edge_benchmarks.reporting.document import Table

_LATENCY_HEAD = ("milliseconds", "p50", "p90", "p95", "p99", "max", "samples", "per second")
_SCALE_HEAD = ("tasks", "frame, ratio (quartiles)", "selection p50, ms", "p99", "opens in")
_SIZES_HEAD = ("resident", "unique", "on the disk")


def short(value: float | None) -> str:
    """Write a number with three digits or so, a whole one without a point, None as a dash."""
    if value is None:
        return "-"
    digits = 0 if value == int(value) else 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1
    return f"{value:.{digits}f}"


def size(count: float) -> str:
    """Write bytes with a unit that suits them."""
    for unit, bytes_of_it in (("GB", 1e9), ("MB", 1e6)):
        if count >= bytes_of_it:
            return f"{count / bytes_of_it:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def with_unit(value: float, unit: str) -> str:
    """Write a number with its unit; one of bytes as `size` does."""
    return size(value) if unit == "B" else f"{short(value)} {unit}".strip()


def latency_table(measurements: Sequence[Measurement], headline: str) -> Table:
    """One row for each measurement, that of the headline with a star."""
    rows = []
    for one in measurements:
        times = one.latency
        values = (times.p50, times.p90, times.p95, times.p99, times.maximum, times.samples)
        name = f"{one.name} *" if one.name == headline else one.name
        rows.append([name, *map(short, (*values, one.frames_per_second))])
    notes = ["The row with * stands for the scenario."] if len(measurements) > 1 else []
    if any(one.latency.p99 is None for one in measurements):
        notes.append(f"p99 needs {P99_SAMPLES:,} samples.")
    return Table(_LATENCY_HEAD, rows, " ".join(notes))


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
    rows = [
        [
            str(one.tasks),
            f"{one.ratio.median:.3f} ({one.ratio.low:.3f} to {one.ratio.high:.3f})",
            short(one.selection.p50),
            short(one.selection.p99),
            f"{short(one.open_seconds.median)} s",
            *map(size, (one.rss, one.uss, one.disk)),
        ]
        for one in points
    ]
    return Table((*_SCALE_HEAD, *_SIZES_HEAD), rows)


def environment_table(report: BenchmarkReport) -> Table:
    """List bundle, frames, settings and machine."""
    bundle, settings = report.bundle, report.settings
    kinds = ", ".join([*bundle.layouts, *bundle.precisions, f"selector {bundle.selector}"])
    rows = [
        ["graphs ran on", f"{report.device} ({report.provider}), asked for {settings.device}"],
        ["threads of each graph", str(settings.threads)],
        ["frames", _frames(report)],
        ["bundle", f"version {bundle.version}, manifest {bundle.manifest[:12]}"],
        ["tasks", f"{len(bundle.tasks)} ({kinds})"],
        ["input", _inputs(bundle.recipe, bundle.further_recipes)],
        ["bundle on the disk", size(bundle.disk)],
        *([f"graph {number}", sha] for number, sha in enumerate(bundle.graphs, 1)),
        *_machine_rows(report.environment),
        ["made at", report.made_at],
        ["least duration and samples", f"{settings.seconds:g} s and {settings.samples}"],
        ["seed", str(settings.seed)],
    ]
    return Table(("what", "value"), rows, is_list=True)


def _frames(report: BenchmarkReport) -> str:
    frames = report.frames
    kind = "images" if frames.source == "images" else "synthetic frames"
    shown = f"{frames.frames} {kind} of {', '.join(frames.sizes[:3])} px"
    more = frames.found > frames.frames
    return shown + (f", evenly chosen of {frames.found} images" if more else "")


def _inputs(recipe: tuple[int, int], further: Sequence[tuple[int, int]]) -> str:
    """Say what size the selector takes, and which others some of the engines."""
    others = " and ".join(f"{width}x{height}" for width, height in further)
    return f"{recipe[0]}x{recipe[1]} px" + (f"; of some products {others} px" if others else "")


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
