"""`cad-edge benchmark BUNDLE`: what a bundle takes on this machine, and against an earlier run."""

from pathlib import Path

import click

from cad_edge import options
from cad_edge.errors import OptionError
from cad_edge.schema import canonical_json
from cad_edge.store.bundle import Bundle
from cad_edge.store.trust import ignoring_trusted_keys
from cad_edge_benchmarks.benchmark.comparison import read_previous_report
from cad_edge_benchmarks.benchmark.measuring import BenchmarkRequest, measure
from cad_edge_benchmarks.benchmark.report import document
from cad_edge_benchmarks.benchmark.scenarios import NAMES
from cad_edge_benchmarks.instruments.budgets import check_memory_budget
from cad_edge_benchmarks.instruments.conditions import BenchmarkSettings, ScenarioName
from cad_edge_benchmarks.instruments.report_schema import BenchmarkReport
from cad_edge_benchmarks.instruments.timing import TimingPlan
from cad_edge_benchmarks.reporting.document import text
from cad_edge_benchmarks.reporting.report_files import check_report, write_report
from cad_edge_runtime.cores import available_cores

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
@options.bundle
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice([*NAMES, _ALL]),
    default=["single-stream"],
    callback=_scenarios,
    cls=options.Option,
    help="What to measure [default: single-stream].",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of images of any size [default: synthetic images].",
)
@options.depth
@options.threads
@options.device
@click.option(
    "--seconds",
    type=float,
    default=TimingPlan().seconds,
    show_default=True,
    metavar="SECONDS",
    callback=options.positive,
    help="Shortest duration of a measurement, which has at least 100 samples.",
)
@click.option(
    "--streams",
    type=click.IntRange(1, 256),
    default=2,
    show_default=True,
    help="Callers at a time in the scenario multi-stream.",
)
@click.option(
    "--tasks",
    default="1,10,100,1000",
    show_default=True,
    callback=_counts,
    metavar="NUMBER,...",
    help="Numbers of products in the scenario scale.",
)
@options.out_report
@options.budget_ms
@options.budget_mb
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="OLD.json",
    help="JSON of an earlier report to compare with, as ratios.",
)
@options.trusted_keys
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

    Nothing is written to BUNDLE. Close other programs first, since they slow down what is measured.

    The exit status is 1 if the 90th percentile of single-stream exceeds --budget-ms, or the peak
    memory of a process that inspects exceeds --budget-mb.
    """
    if out is not None:
        check_report("--out", out)
    if depth is not None and images is None:
        raise OptionError("--depth is the depth of real frames; give --images, or leave it out")
    settings = BenchmarkSettings(
        scenarios=scenarios,
        seconds=seconds,
        samples=TimingPlan().samples,
        threads=threads or available_cores(),
        device=device,
        streams=streams,
        tasks=tasks,
        seed=SEED,
    )
    request = BenchmarkRequest(
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
    Bundle(bundle).pointer()  # the copies of it that are measured below have no signature
    click.get_current_context().with_resource(ignoring_trusted_keys())
    _show(measure(request, lambda step: click.echo(f"measuring {step}", err=True)), out)


def _show(report: BenchmarkReport, out: Path | None) -> None:
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


def _check_budgets(request: BenchmarkRequest) -> None:
    """Raise OptionError for a budget that nothing would be held against."""
    if request.budget_ms is not None and "single-stream" not in request.settings.scenarios:
        raise OptionError("--budget-ms is the limit of single-stream; add --scenario single-stream")
    check_memory_budget(request.budget_mb)
