"""`cad-edge benchmark BUNDLE`: what a bundle takes on this machine, and against an earlier run."""

from pathlib import Path

import click

from cad_edge.errors import OptionError
from cad_edge.schema import canonical_json
from cad_edge_benchmarks.benchmark.comparison import read_previous_report
from cad_edge_benchmarks.benchmark.measuring import Request, measure
from cad_edge_benchmarks.benchmark.report import document
from cad_edge_benchmarks.benchmark.scenarios import NAMES
from cad_edge_benchmarks.instruments.budgets import check_memory_budget, limit
from cad_edge_benchmarks.instruments.conditions import ScenarioName, Settings
from cad_edge_benchmarks.instruments.report_schema import Report
from cad_edge_benchmarks.instruments.timing import TimingPlan
from cad_edge_benchmarks.reporting.document import text
from cad_edge_benchmarks.reporting.report_files import check_report, write_report
from cad_edge_runtime.session import available_cores

SEED = 0
_ALL = "all"
_MOST_TASKS = 100_000


def _scenarios(
    ctx: click.Context, option: click.Parameter, names: tuple[str, ...]
) -> list[ScenarioName]:
    """Turn the names of ``--scenario`` into scenarios, each once and in the order of a report."""
    return [name for name in NAMES if name in names or _ALL in names]


def _counts(ctx: click.Context, option: click.Parameter, text: str) -> list[int]:
    """Read ``--tasks``: rising whole numbers with commas between them."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 1 <= int(word) <= _MOST_TASKS for word in words):
        raise OptionError(f"--tasks {text!r} is not allowed; give numbers as in 1,10,100,1000")
    return sorted({int(word) for word in words})


@click.command("benchmark")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice([*NAMES, _ALL]),
    default=["single-stream"],
    callback=_scenarios,
    help="What to measure, single-stream without it; give it again for more.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Real frames of any size; without them seeded synthetic ones are shown.",
)
@click.option(
    "--depth",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Depth of --images: files with their names.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of each graph; all cores without it.")
@click.option("--device", default="auto", show_default=True, help="As for `cad-edge detect`.")
@click.option(
    "--seconds",
    type=float,
    default=TimingPlan().seconds,
    show_default=True,
    callback=limit,
    help="Least duration of a measurement, which has 100 samples or more in any case.",
)
@click.option(
    "--streams",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="Callers of the scenario multi-stream.",
)
@click.option(
    "--tasks",
    default="1,10,100,1000",
    show_default=True,
    callback=_counts,
    help="Numbers of tasks of the scenario scale.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE.json",
    help="Write the report: JSON, Markdown and HTML into a folder, or JSON alone into a file.",
)
@click.option(
    "--budget-ms",
    type=float,
    callback=limit,
    help="Exit with 1 if p90 of single-stream is above it.",
)
@click.option(
    "--budget-mb",
    type=float,
    callback=limit,
    help="Exit with 1 if the peak memory of a device process is above it.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="OLD.json",
    help="Compare with an earlier report, as ratios.",
)
def benchmark(
    bundle: Path,
    scenarios: list[ScenarioName],
    images: Path | None,
    depth: Path | None,
    threads: int | None,
    device: str,
    seconds: float,
    streams: int,
    tasks: list[int],
    out: Path | None,
    budget_ms: float | None,
    budget_mb: float | None,
    against: Path | None,
) -> None:
    """Measure time, memory and power of BUNDLE on this machine.

    Nothing is written to BUNDLE. Close other programs first: what they take is in the figures.
    """
    if out is not None:
        check_report("--out", out)
    if depth is not None and images is None:
        raise OptionError("--depth is the depth of real frames; give --images, or leave it out")
    settings = Settings(
        scenarios=scenarios,
        seconds=seconds,
        samples=TimingPlan().samples,
        threads=threads or available_cores(),
        device=device,
        streams=streams,
        tasks=tasks,
        seed=SEED,
    )
    request = Request(
        bundle=bundle,
        settings=settings,
        images=images,
        depth=depth,
        threads_asked=threads is not None,
        budget_ms=budget_ms,
        budget_mb=budget_mb,
        against=None if against is None else read_previous_report(against),
    )
    _check_budgets(request)
    _show(measure(request, lambda step: click.echo(f"measuring {step}", err=True)), out)


def _show(report: Report, out: Path | None) -> None:
    """Print and write the report; exit with 1 if a budget is not kept."""
    for sentence in report.comparison.unlike if report.comparison else ():
        click.echo(f"Warning: {sentence}", err=True)
    page = document(report)
    click.echo(text(page))
    if out is not None:
        for path in write_report(out, "benchmark", page, canonical_json(report)):
            click.echo(f"wrote {path}", err=True)
    if not all(budget.kept for budget in report.budgets):
        raise click.exceptions.Exit(1)


def _check_budgets(request: Request) -> None:
    """Raise OptionError for a budget that nothing would be held against."""
    if request.budget_ms is not None and "single-stream" not in request.settings.scenarios:
        raise OptionError("--budget-ms is the limit of single-stream; add --scenario single-stream")
    check_memory_budget(request.budget_mb)
