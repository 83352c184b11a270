"""`cad-edge protocol STREAM`: learn a stream step by step and measure after every step."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from cad_edge.errors import OptionError
from cad_edge.store.lock import WriterLock
from cad_edge_benchmarks.instruments.command_runner import BACKBONE
from cad_edge_benchmarks.instruments.open_data import FALSE_REJECT_RATE
from cad_edge_benchmarks.protocol.baselines import BASELINES
from cad_edge_benchmarks.protocol.compat import COMPATS, Compat, read_compats
from cad_edge_benchmarks.protocol.learner_settings import said_of, settle
from cad_edge_benchmarks.protocol.plan import (
    Plan,
    begin,
    check_compats,
    check_folder,
    check_products,
    plan_of,
    with_views,
)
from cad_edge_benchmarks.protocol.report import Report, document_of, record_of
from cad_edge_benchmarks.protocol.run import CAD_EDGE, Request, run_all
from cad_edge_benchmarks.protocol.splits import SPLITS
from cad_edge_benchmarks.protocol.study import (
    BaselineName,
    LearnerEntry,
    Order,
    Study,
    read_study,
    require_once,
)
from cad_edge_benchmarks.protocol.task_sequence import (
    GIVEN,
    REVERSED,
    SHUFFLED,
    TaskSequence,
    draw_orders,
    read_sequence,
)
from cad_edge_benchmarks.reporting.document import text
from cad_edge_benchmarks.reporting.report_files import write_report


@click.command(
    "protocol",
    epilog="Protocols: " + ", ".join(SPLITS) + ". Your own: a stream file, each task a step or "
    "grouped by its key `steps`; or a study file, which names a stream and its learners.",
)
@click.argument("stream")
@click.option(
    "--data",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of the dataset that a protocol names, twice for cross-dataset; or what the paths "
    "of a stream file are relative to.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for models, results and the report; a call that was interrupted goes on there.",
)
@click.option("--method", help="As for cad-edge train.")
@click.option("--backbone", help=f"As for cad-edge train  [default: {BACKBONE}].")
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
    help="Seed of all random choices; repeat for several  [default: 0].",
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
    backbone: str | None,
    size: int | None,
    settings: tuple[str, ...],
    rate: float | None,
    orders: tuple[Order, ...],
    count: int | None,
    seeds: tuple[int, ...],
    baselines: tuple[BaselineName, ...],
    switches: tuple[str, ...],
    last_only: bool,
    threads: int | None,
) -> None:
    """Learn STREAM step by step and measure all tasks so far after every step.

    STREAM is a stream file, a study file that compares learners, or the name of a published
    protocol. Every test image finds its product on its own, and no test image touches learning,
    thresholds or scaling.
    """
    _refuse_repeated(seeds, orders, baselines)
    if count is not None and orders:
        raise OptionError("--orders counts orders and --order names them; give one of the two")
    file = read_study(Path(stream))
    learners: dict[str, LearnerEntry | None] = {CAD_EDGE: None}
    learners |= {name: LearnerEntry(baseline=name) for name in baselines}
    study = _study(
        stream,
        file,
        {
            "--method": ("method", method),
            "--backbone": ("backbone", backbone),
            "--size": ("size", size),
            "--set": ("options", _settings(settings)),
            "--false-reject-rate": ("false_reject_rate", rate),
            "--order": ("orders", list(orders)),
            "--orders": ("orders", count),
            "--seed": ("seeds", list(seeds)),
            "--baseline": ("learners", learners if baselines else None),
        },
    )
    source = None if file is None else Path(stream)
    with said_of(source):
        sequence = read_sequence(study, roots)
        named = draw_orders(sequence, study.orders)
    compats = read_compats(switches)
    settled = settle(study, source)
    check_compats(sequence, compats)
    check_products(sequence)
    plan = plan_of(sequence, sequence.name if file is None else study.study, settled)
    check_folder(out, plan)
    request = Request(out, settled, named, tuple(study.seeds), compats, threads, last_only, _say)
    _publish(carry_out(sequence, plan, request), out)


def _publish(report: Report, out: Path) -> None:
    document, name = document_of(report), report_name(report.compats)
    write_report(out, name, document, record_of(report))
    click.echo(f"{text(document)}\n\nwrote {out / name}.json, .md and .html")


def _refuse_repeated(seeds: Sequence[int], orders: Sequence[str], baselines: Sequence[str]) -> None:
    try:
        require_once(seeds, "--seed ")
        require_once(orders, "--order ")
        require_once(baselines, "--baseline ")
    except ValueError as problem:
        raise OptionError(str(problem)) from None


def _settings(settings: Sequence[str]) -> dict[str, str]:
    from cad_edge_training.commands import read_settings

    return read_settings(settings)


def _study(stream: str, file: Study | None, given: Mapping[str, tuple[str, object]]) -> Study:
    """Join a study file, or one of cad-edge alone, with what the command line says.

    ``given`` holds by option the key of a study that it stands for and a value, empty where none
    was given; OptionError for what both say.
    """
    study = file or Study(study=stream, stream=stream, learners={CAD_EDGE: None})
    said = {}
    for option, (key, value) in given.items():
        if value in (None, [], {}):
            continue
        if file is not None and key in file.model_fields_set:
            raise OptionError(f"{stream} says `{key}` itself; leave {option} out")
        said[key] = value
    return study.model_copy(update=said)


def carry_out(sequence: TaskSequence, plan: Plan, request: Request) -> Report:
    """Run everything that the folder lacks."""
    _set_threads(request.threads)
    with WriterLock(request.folder / ".lock").hold():
        begin(request.folder, plan)
        viewed = with_views(sequence, request.folder, request.compats)
        remarks = check_products(viewed)
        runs = run_all(viewed, request)
    return Report(plan, tuple(runs), request.compats, request.last_only, tuple(remarks))


def report_name(compats: Sequence[Compat]) -> str:
    """Name of the report's files without suffix; switches are part of it."""
    return "+".join(["protocol", *(compat.name for compat in compats)])


def _say(what: str) -> None:
    click.echo(what, err=True)


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
