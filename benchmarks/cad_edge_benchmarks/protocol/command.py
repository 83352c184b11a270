"""`cad-edge protocol --stream STREAM`: learn a stream step by step and measure after every step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from cad_edge import options
from cad_edge.deprecated_options import deprecated
from cad_edge.errors import OptionError
from cad_edge.store.lock import WriterLock
from cad_edge.store.trust import ignoring_trusted_keys
from cad_edge_benchmarks.instruments.command_runner import BACKBONE
from cad_edge_benchmarks.instruments.open_data import FALSE_REJECT_RATE
from cad_edge_benchmarks.protocol.baselines import BASELINES
from cad_edge_benchmarks.protocol.compat import COMPATS, Compat, read_compats
from cad_edge_benchmarks.protocol.learner_settings import errors_naming, settle
from cad_edge_benchmarks.protocol.plan import (
    Plan,
    begin,
    check_compats,
    check_folder,
    check_products,
    plan_of,
    with_views,
)
from cad_edge_benchmarks.protocol.report import ProtocolReport, document_of, record_of
from cad_edge_benchmarks.protocol.run import CAD_EDGE, RunRequest, run_all
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

if TYPE_CHECKING:
    from cad_edge_training.input_size import Size


@click.command(
    "protocol",
    epilog="Published protocols: " + ", ".join(SPLITS) + ".",
)
@options.stream
@deprecated("STREAM", "--stream")
@click.option(
    "--data",
    "roots",
    cls=options.Option,
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the dataset of a published protocol (cross-dataset needs two), or that the "
    "paths of a stream file are relative to.",
)
@options.out_folder()
@options.method()
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
    orders: tuple[Order, ...],
    count: int | None,
    seeds: tuple[int, ...],
    baselines: tuple[BaselineName, ...],
    switches: tuple[str, ...],
    last_only: bool,
    threads: int | None,
) -> None:
    """Learn a stream step by step and measure all products so far after every step.

    --stream also takes a study file, which names a stream and the learners to compare, or the name
    of a published protocol, listed below, whose dataset --data names. A step is one product, or a
    group of them that the stream file names by its key `steps`.

    Products are recognised in every test image, as on the device, and no test image touches
    learning, thresholds or scaling. A call that was interrupted goes on in the same --out.

    Every --order is run with every --seed. --false-reject-rate is for published protocols and
    folders; a stream file states its own.
    """
    click.get_current_context().with_resource(ignoring_trusted_keys())
    _refuse_repeated(seeds, orders, baselines)
    if count is not None and orders:
        raise OptionError("--orders counts orders and --order names them; give one of the two")
    file = read_study(stream)
    learners: dict[str, LearnerEntry | None] = {CAD_EDGE: None}
    learners |= {name: LearnerEntry(baseline=name) for name in baselines}
    study = _study(
        stream.as_posix(),
        file,
        {
            "method": ("--method", "method", method),
            "backbone": ("--backbone", "backbone", backbone),
            "size": ("--size", "size", size),
            "settings": ("--set", "options", _settings(settings)),
            "rate": ("--false-reject-rate", "false_reject_rate", rate),
            "orders": ("--order", "orders", list(orders)),
            "count": ("--orders", "orders", count),
            "seeds": ("--seed", "seeds", list(seeds)),
            "baselines": ("--baseline", "learners", learners),
        },
    )
    source = None if file is None else stream
    with errors_naming(source):
        sequence = read_sequence(study, roots)
        named = draw_orders(sequence, study.orders)
    compats = read_compats(switches)
    settled = settle(study, source)
    check_compats(sequence, compats)
    check_products(sequence)
    plan = plan_of(sequence, sequence.name if file is None else study.study, settled)
    check_folder(out, plan)
    request = RunRequest(out, settled, named, tuple(study.seeds), compats, threads, last_only, _say)
    _publish(carry_out(sequence, plan, request), out)


def _publish(report: ProtocolReport, out: Path) -> None:
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


def _study(
    stream: str, file: Study | None, options: Mapping[str, tuple[str, str, object]]
) -> Study:
    """Join a study file, or one of cad-edge alone, with what the command line says.

    ``options`` holds by parameter its option, the key of a study that it stands for, and its value;
    OptionError for what both the file and the command line say.
    """
    study = file or Study(study=stream, stream=stream, learners={CAD_EDGE: None})
    source, found = click.get_current_context().get_parameter_source, {}
    for parameter, (option, key, value) in options.items():
        if source(parameter) is not ParameterSource.COMMANDLINE:
            continue
        if file is not None and key in file.model_fields_set:
            raise OptionError(f"{stream} says `{key}` itself; leave {option} out")
        found[key] = value
    return study.model_copy(update=found)


def carry_out(sequence: TaskSequence, plan: Plan, request: RunRequest) -> ProtocolReport:
    """Run everything that the folder lacks."""
    _set_threads(request.threads)
    with WriterLock(request.folder / ".lock").hold():
        begin(request.folder, plan)
        viewed = with_views(sequence, request.folder, request.compats)
        remarks = check_products(viewed)
        runs = run_all(viewed, request)
    return ProtocolReport(plan, tuple(runs), request.compats, request.last_only, tuple(remarks))


def report_name(compats: Sequence[Compat]) -> str:
    """Name of the report's files without suffix; switches are part of it."""
    return "+".join(["protocol", *(compat.name for compat in compats)])


def _say(what: str) -> None:
    click.echo(what, err=True)


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
