"""The chapter of one scenario: latencies, stages, figures, and what must be said with them."""

from collections.abc import Sequence

from cad_edge_benchmarks.benchmark.section import Chapter, Table, short, size
from cad_edge_benchmarks.instruments.report_schema import (
    P99_SAMPLES,
    STAGES,
    Measurement,
    ScalePoint,
    ScenarioResult,
)

_LATENCY_HEAD = ("milliseconds", "p50", "p90", "p95", "p99", "max", "samples", "per second")
_DECODED = (
    "Frames are decoded beforehand, as a camera hands them over: the stage decode is part of the "
    "way from a file to its verdict alone."
)
_LITTLE_P99 = f"p99 needs {P99_SAMPLES:,} samples and is left out (-) where there were fewer."


def scenario_chapter(result: ScenarioResult, scale: Sequence[ScalePoint]) -> Chapter:
    """Make the chapter of ``result``; ``scale`` is read for the scenario of that name alone."""
    rows = [_latency_row(one, one.name == result.headline) for one in result.measurements]
    tables = [Table(_LATENCY_HEAD, rows)]
    if result.scenario == "scale":
        tables.append(scale_table(scale))
    tables += stage_tables(result.measurements)
    if result.figures:
        rows = [[one.name, f"{short(one.value)} {one.unit}".strip()] for one in result.figures]
        tables.append(Table(("figure", "value"), rows))
    notes = [*result.notes, *_verdicts(result.measurements)]
    if any("decode" in one.stages for one in result.measurements):
        notes.append(_DECODED)
    if len(result.measurements) > 1:
        notes.append(f"* {result.headline} stands for the scenario.")
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
