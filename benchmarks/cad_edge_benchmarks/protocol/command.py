"""`cad-edge protocol STREAM`: learn a stream step by step and measure after every step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from cad_edge.errors import OptionError
from cad_edge.store.atomic_write import replace_file
from cad_edge.store.lock import WriterLock
from cad_edge_benchmarks.instruments.command_runner import BACKBONE
from cad_edge_benchmarks.instruments.open_data import FALSE_REJECT_RATE
from cad_edge_benchmarks.protocol.baselines import BASELINES
from cad_edge_benchmarks.protocol.compat import COMPATS, Compat, read_compats
from cad_edge_benchmarks.protocol.learners import Recipe
from cad_edge_benchmarks.protocol.page import render
from cad_edge_benchmarks.protocol.plan import (
    Plan,
    begin,
    check_compats,
    check_folder,
    check_products,
    plan_of,
    with_views,
)
from cad_edge_benchmarks.protocol.report import Report, markdown, print_report, result_of
from cad_edge_benchmarks.protocol.run import Run, Trial, run_baseline, run_cad_edge
from cad_edge_benchmarks.protocol.splits import SPLITS
from cad_edge_benchmarks.protocol.task_sequence import (
    GIVEN,
    REVERSED,
    SHUFFLED,
    Course,
    draw_orders,
    ordered,
    read_course,
)
from cad_edge_benchmarks.reporting.tables import write_result


@dataclass(frozen=True)
class Request:
    """What is asked for besides the course."""

    orders: tuple[str, ...]
    seeds: tuple[int, ...]
    baselines: tuple[str, ...]
    compats: tuple[Compat, ...]
    threads: int | None
    last_only: bool


@click.command(
    "protocol",
    epilog="Protocols: " + ", ".join(SPLITS) + ". Your own: a stream file, each task a step or "
    "grouped by its key `steps`.",
)
@click.argument("stream")
@click.option(
    "--data",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of the dataset that a protocol names; twice for cross-dataset.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for models, results and the report; a call that was interrupted goes on there.",
)
@click.option(
    "--method",
    help="As for cad-edge train.",
)
@click.option("--backbone", default=BACKBONE, show_default=True, help="As for cad-edge train.")
@click.option("--size", type=click.IntRange(64, 2048), help="Input side in pixels.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As for train.")
@click.option(
    "--false-reject-rate",
    "rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help=f"Stated for a named protocol  [default: {FALSE_REJECT_RATE:g}]; a stream file has its "
    "own.",
)
@click.option(
    "--order",
    "orders",
    multiple=True,
    type=click.Choice([GIVEN, REVERSED, SHUFFLED]),
    help="Order of learning; repeat for several  [default: given].",
)
@click.option(
    "--orders",
    "count",
    type=click.IntRange(min=1),
    help="So many different orders: the given one and shuffled ones.",
)
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(0, 2**32 - 1),
    default=(0,),
    show_default=True,
    help="Seed of all random choices; repeat for several.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    type=click.Choice(list(BASELINES)),
    help="Run it beside; repeat for several. "
    + "; ".join(f"{name}: {meaning}" for name, meaning in BASELINES.items())
    + ".",
)
@click.option(
    "--compat",
    "switches",
    multiple=True,
    metavar="NAME",
    help=f"Reproduce a leak of published code, only to compare: {', '.join(COMPATS)}.",
)
@click.option("--last-only", is_flag=True, help="Measure after the last step only.")
@click.option("--threads", type=click.IntRange(min=1), help="All cores without it.")
def protocol(
    stream: str,
    roots: tuple[Path, ...],
    out: Path,
    method: str | None,
    backbone: str,
    size: int | None,
    settings: tuple[str, ...],
    rate: float | None,
    orders: tuple[str, ...],
    count: int | None,
    seeds: tuple[int, ...],
    baselines: tuple[str, ...],
    switches: tuple[str, ...],
    last_only: bool,
    threads: int | None,
) -> None:
    """Learn STREAM step by step and measure all tasks so far after every step.

    STREAM is a stream file or the name of a published protocol. Every test image finds its product
    on its own, and no test image touches learning, thresholds or scaling.
    """
    for option, values in (("--seed", seeds), ("--order", orders), ("--baseline", baselines)):
        _refuse_repeated(option, values)
    course = read_course(stream, roots, rate, FALSE_REJECT_RATE)
    compats = read_compats(switches)
    chosen = _orders(course, orders, count)
    check_compats(course, compats)
    check_products(course)
    method = method or _default_method(backbone)
    options = _settings(method, backbone, size, settings)
    request = Request(tuple(chosen), seeds, baselines, compats, threads, last_only)
    plan = plan_of(course, method, backbone, size, options)
    check_folder(out, plan)
    print_report(carry_out(course, plan, request, out))
    click.echo(f"\nwrote {out / report_name(compats)}.json, .md and .html")


def _refuse_repeated(option: str, values: Sequence[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise OptionError(f"{option} {value} is given twice; keep one of them")


def _orders(course: Course, orders: Sequence[str], count: int | None) -> list[str]:
    if count is not None and orders:
        raise OptionError("--orders counts orders and --order names them; give one of the two")
    if count is not None:
        return draw_orders(course, count)
    return [f"{SHUFFLED}-1" if order == SHUFFLED else order for order in orders or (GIVEN,)]


def _default_method(backbone: str) -> str:
    from cad_edge_training.methods import default_method

    return default_method(backbone)


def _settings(
    method: str, backbone: str, size: int | None, settings: Sequence[str]
) -> dict[str, str]:
    """Options of the method; whatever is wrong with them is said before anything is written."""
    from cad_edge_training.backbones import load_backbone
    from cad_edge_training.commands import read_settings
    from cad_edge_training.train import TrainingPlan, read_config

    options = read_settings(settings)
    read_config(TrainingPlan(method, backbone, size, options, 0))
    load_backbone(backbone, size)
    return options


def carry_out(course: Course, plan: Plan, request: Request, out: Path) -> Report:
    """Run everything that ``out`` lacks and write the report; return it."""
    _set_threads(request.threads)
    with WriterLock(out / ".lock").hold():
        begin(out, plan)
        viewed = with_views(course, out, request.compats)
        remarks = check_products(viewed)
        runs = [
            run
            for order in request.orders
            for seed in request.seeds
            for run in _trial(viewed, plan, request, out, order, seed)
        ]
        report = Report(plan, tuple(runs), request.compats, request.last_only, tuple(remarks))
        name = report_name(request.compats)
        write_result(out / f"{name}.json", result_of(report))
        replace_file(out / f"{name}.md", markdown(report).encode())
        replace_file(out / f"{name}.html", render(report).encode())
    return report


def report_name(compats: Sequence[Compat]) -> str:
    """Name of the report's files without suffix; switches are part of it."""
    return "+".join(["protocol", *(compat.name for compat in compats)])


def _trial(
    course: Course, plan: Plan, request: Request, out: Path, order: str, seed: int
) -> list[Run]:
    recipe = Recipe(
        method=plan.method,
        backbone=plan.backbone,
        size=plan.size,
        options=tuple(plan.options.items()),
        seed=seed,
        false_reject_rate=plan.false_reject_rate,
        threads=request.threads,
        compats=request.compats,
    )
    steps = ordered(course, order)
    trial = Trial(out, order, steps, recipe, request.last_only, _say)
    ours = run_cad_edge(trial)
    return [ours, *(run_baseline(name, ours, trial) for name in request.baselines)]


def _say(what: str) -> None:
    click.echo(what, err=True)


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
