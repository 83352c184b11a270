"""`cad-edge protocol --stream STREAM`: learn a stream step by step and measure after every step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cad_edge import options
from cad_edge.errors import OptionError
from cad_edge.renamed_options import renamed
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

if TYPE_CHECKING:
    from cad_edge_training.input_size import Size


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
    epilog="Published protocols: " + ", ".join(SPLITS) + ".",
)
@options.stream
@renamed("STREAM", "--stream")
@click.option(
    "--data",
    "roots",
    cls=options.Option,
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the dataset of a published protocol; cross-dataset needs two.",
)
@options.out_folder()
@options.method
@options.backbone(BACKBONE)
@options.size
@options.settings
@options.false_reject_rate(FALSE_REJECT_RATE)
@click.option(
    "--order",
    "orders",
    cls=options.Option,
    multiple=True,
    type=click.Choice([GIVEN, REVERSED, SHUFFLED]),
    help="Order in which products are learned [default: given].",
)
@click.option(
    "--orders",
    "count",
    type=click.IntRange(min=1),
    help="Number of different orders: the given one and shuffled ones.",
)
@options.seed(several=True)
@click.option(
    "--baseline",
    "baselines",
    cls=options.Option,
    multiple=True,
    type=click.Choice(list(BASELINES)),
    help="Learner to compare with. "
    + "; ".join(f"{name}: {meaning}" for name, meaning in BASELINES.items())
    + ".",
)
@click.option(
    "--compat",
    "switches",
    cls=options.Option,
    multiple=True,
    metavar="NAME",
    help=f"Reproduce a leak of test data in published code, for comparison: {', '.join(COMPATS)}.",
)
@click.option("--last-only", is_flag=True, help="Measure after the last step only.")
@options.threads
def protocol(
    stream: Path,
    roots: tuple[Path, ...],
    out: Path,
    method: str | None,
    backbone: str,
    size: "Size",
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
    """Learn a stream step by step and measure all products so far after every step.

    --stream also takes the name of a published protocol, listed below, whose dataset --data names.
    A step is one product, or a group of them that the stream file names by its key `steps`.

    Products are recognised in every test image, as on the device, and no test image touches
    learning, thresholds or scaling. A call that was interrupted goes on in the same --out.

    Every --order is run with every --seed. --false-reject-rate is for published protocols and
    folders; a stream file states its own.
    """
    for option, values in (("--seed", seeds), ("--order", orders), ("--baseline", baselines)):
        _refuse_repeated(option, values)
    course = read_course(stream.as_posix(), roots, rate, FALSE_REJECT_RATE)
    compats = read_compats(switches)
    chosen = _orders(course, orders, count)
    check_compats(course, compats)
    check_products(course)
    method = method or _default_method(backbone)
    chosen_options = _settings(method, backbone, size, settings)
    request = Request(tuple(chosen), seeds, baselines, compats, threads, last_only)
    plan = plan_of(course, method, backbone, size, chosen_options)
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


def _settings(method: str, backbone: str, size: "Size", settings: Sequence[str]) -> dict[str, str]:
    """Options of the method; whatever is wrong with them is said before anything is written."""
    from cad_edge_training.backbones import load_backbone
    from cad_edge_training.commands import read_settings
    from cad_edge_training.train import TrainingPlan, read_config

    given = read_settings(settings)
    read_config(TrainingPlan(method, backbone, size, given, 0))
    load_backbone(backbone, None if size == "auto" else size)
    return given


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
