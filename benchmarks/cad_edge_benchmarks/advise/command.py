"""`cad-edge advise --stream DATA`: which settings to take for your images and your machine."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cad_edge.schema import canonical_json
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.advise.pareto_front import Budgets
from cad_edge_benchmarks.advise.products import read_products
from cad_edge_benchmarks.advise.recommendation import recommend
from cad_edge_benchmarks.advise.report import advice_document
from cad_edge_benchmarks.advise.search import Request, sweep
from cad_edge_benchmarks.advise.search_space import Space
from cad_edge_benchmarks.advise.trials import LearningOptions
from cad_edge_benchmarks.instruments.budgets import check_memory_budget, limit
from cad_edge_benchmarks.instruments.command_runner import BACKBONE
from cad_edge_benchmarks.reporting.document import text
from cad_edge_benchmarks.reporting.report_files import check_report, is_file, write_report
from cad_edge_runtime.device import choose_device
from cad_edge_runtime.session import available_cores, load_onnxruntime

_STREAM = "line.json"


@click.command("advise")
@click.option(
    "--stream",
    "data",
    required=True,
    type=click.Path(path_type=Path),
    help="A product's folder (train/good, test/...), a folder of such folders, or a stream file.",
)
@click.option(
    "--budget-ms",
    type=float,
    callback=limit,
    help="Take no setting whose frame takes longer (90th percentile).",
)
@click.option(
    "--budget-mb",
    type=float,
    callback=limit,
    help="Take no setting whose device process has a higher peak memory.",
)
@click.option(
    "--axis",
    "axes",
    multiple=True,
    metavar="NAME[=VALUE,...]",
    help="Sweep only this, and only these values; repeat for several. A wrong name is answered "
    "with all of them.",
)
@click.option(
    "--set",
    "fixed",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the method that every setting has, as for train.",
)
@click.option(
    "--method",
    help="As for cad-edge train.",
)
@click.option("--backbone", default=BACKBONE, show_default=True, help="As for cad-edge train.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE.json",
    help="Write the advice there: JSON, Markdown, HTML and the plot as SVG. A folder also keeps "
    "what was learned, so that a call that was interrupted goes on.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of all random choices.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of each graph; all cores without it.")
@click.option("--device", default="auto", show_default=True, help="As for `cad-edge detect`.")
def advise(
    data: Path,
    budget_ms: float | None,
    budget_mb: float | None,
    axes: tuple[str, ...],
    fixed: tuple[str, ...],
    method: str | None,
    backbone: str,
    out: Path | None,
    seed: int,
    threads: int | None,
    device: str,
) -> None:
    """Try settings on your images and this machine, and name the one to take.

    No test image touches learning or thresholds; one half of the test images, the selection split,
    chooses the setting and the other half reports it.
    """
    if out is not None:
        check_report("--out", out)
    check_memory_budget(budget_mb)
    from cad_edge_training.methods import default_method

    method = method or default_method(backbone)
    request = Request(
        data=data,
        stream=read_products(data),
        space=_space(method, backbone, device, fixed, axes),
        shared=LearningOptions(method, backbone, seed, device, threads or available_cores()),
        budgets=Budgets(budget_ms, budget_mb),
    )
    folder = None if out is None or is_file(out) else out
    stream_file = data if data.is_file() else (folder or Path()) / _STREAM
    with _working(folder) as place:
        swept = sweep(request, place, lambda doing: click.echo(doing, err=True))
    advice = recommend(request, swept, str(stream_file))
    document = advice_document(advice)
    click.echo(text(document))
    if out is not None:
        written = write_report(out, "advice", document, canonical_json(advice))
        if folder is not None and not data.is_file():
            replace_file(stream_file, canonical_json(request.stream))
            written.append(stream_file)
        for path in written:
            click.echo(f"wrote {path}", err=True)
    if folder is None and advice.commands and not data.is_file():
        stream = canonical_json(request.stream).decode()
        click.echo(f"\n{_STREAM}, which --out DIR writes:\n{stream}")
    if advice.taken is None:
        raise click.exceptions.Exit(1)


def _space(
    method: str, backbone: str, device: str, fixed: tuple[str, ...], axes: tuple[str, ...]
) -> Space:
    """Axes to sweep; wrong options are refused before anything is learned."""
    from cad_edge_training.backbones import load_backbone
    from cad_edge_training.commands import read_settings
    from cad_edge_training.train import TrainingPlan, read_config

    options = read_settings(fixed)
    read_config(TrainingPlan(method, backbone, None, options, 0))
    load_backbone(backbone)
    found = choose_device(device, load_onnxruntime().get_available_providers())
    return Space(method, backbone, found.name, options, axes)


@contextmanager
def _working(folder: Path | None) -> Iterator[Path]:
    """Give the place of what is learned: below the folder of the advice, else for this call."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="cad-edge-advise-") as place:
        yield Path(place)
