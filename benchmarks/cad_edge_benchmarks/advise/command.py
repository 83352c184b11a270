"""`cad-edge advise --stream FILE|DIR`: settings for the images and the machine at hand."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cad_edge import options
from cad_edge.data.products import read_products
from cad_edge.data.stream import Stream
from cad_edge.renamed_options import renamed
from cad_edge.schema import canonical_json
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.advise.page import render
from cad_edge_benchmarks.advise.pareto_front import Budgets
from cad_edge_benchmarks.advise.plot import accuracy_plot
from cad_edge_benchmarks.advise.recommendation import judge
from cad_edge_benchmarks.advise.schema import Advice
from cad_edge_benchmarks.advise.search import Order, sweep
from cad_edge_benchmarks.advise.search_space import Space
from cad_edge_benchmarks.advise.text import PICTURE, markdown, terminal
from cad_edge_benchmarks.advise.trials import Taught
from cad_edge_benchmarks.instruments.budgets import check_memory_budget
from cad_edge_benchmarks.instruments.command_runner import BACKBONE
from cad_edge_benchmarks.reporting.report_files import check_report, is_file
from cad_edge_runtime.device import choose_device
from cad_edge_runtime.session import available_cores, load_onnxruntime

_STREAM = "line.json"


@click.command("advise")
@options.stream
@renamed("--data", "--stream")
@options.budget_ms
@options.budget_mb
@click.option(
    "--axis",
    "axes",
    cls=options.Option,
    multiple=True,
    metavar="NAME[=VALUE,...]",
    help="Try only this axis, and only these values of it; a wrong name is answered with all axes.",
)
@options.settings
@options.method
@options.backbone(BACKBONE)
@options.out_report
@renamed("--work", "--out")
@options.seed()
@options.threads
@options.device
def advise(
    stream: Path,
    budget_ms: float | None,
    budget_mb: float | None,
    axes: tuple[str, ...],
    settings: tuple[str, ...],
    method: str | None,
    backbone: str,
    out: Path | None,
    seed: int,
    threads: int | None,
    device: str,
) -> None:
    """Try settings of a method on your images and this machine, and recommend one.

    Each setting is learned, exported and measured. One half of the test images chooses, the other
    half reports the accuracy of the choice; no test image touches learning or thresholds.

    Settings beyond --budget-ms (90th percentile of a frame) or --budget-mb are not recommended. A
    folder as --out also keeps what was learned, and a call that was interrupted goes on there.
    """
    if out is not None:
        check_report("--out", out)
    check_memory_budget(budget_mb)
    from cad_edge_training.methods import default_method

    method = method or default_method(backbone)
    order = Order(
        data=stream,
        stream=_products(stream),
        space=_space(method, backbone, device, settings, axes),
        taught=Taught(method, backbone, seed, device, threads or available_cores()),
        budgets=Budgets(budget_ms, budget_mb),
    )
    folder = None if out is None or is_file(out) else out
    stream_file = stream if stream.is_file() else (folder or Path()) / _STREAM
    with _working(folder) as place:
        swept = sweep(order, place, lambda doing: click.echo(doing, err=True))
    advice = judge(order, swept, str(stream_file))
    if out is not None:
        _write(out, advice, None if stream.is_file() else order.stream)
    click.echo(terminal(advice))
    if folder is None and advice.commands and not stream.is_file():
        click.echo(f"\n{_STREAM}, which --out writes:\n{canonical_json(order.stream).decode()}")
    if advice.taken is None:
        raise click.exceptions.Exit(1)


def _products(stream: Path) -> Stream:
    """Read the products; each must be one image of a part."""
    products = read_products(stream)
    for task in products.tasks:
        task.images()
    return products


def _space(
    method: str, backbone: str, device: str, settings: tuple[str, ...], axes: tuple[str, ...]
) -> Space:
    """Axes to sweep; what is wrong with the options is said before anything is learned."""
    from cad_edge_training.backbones import load_backbone
    from cad_edge_training.commands import read_settings
    from cad_edge_training.train import TrainingPlan, read_config

    given = read_settings(settings)
    read_config(TrainingPlan(method, backbone, None, given, 0))
    load_backbone(backbone)
    found = choose_device(device, load_onnxruntime().get_available_providers())
    return Space(method, backbone, found.name, given, axes)


@contextmanager
def _working(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="cad-edge-advise-") as place:
        yield Path(place)


def _write(out: Path, advice: Advice, stream: Stream | None) -> None:
    """Write the advice, and the stream file that its commands name where the user has none."""
    if is_file(out):
        replace_file(out, canonical_json(advice))
        click.echo(f"wrote {out}", err=True)
        return
    contents = {
        "advice.json": canonical_json(advice),
        "advice.md": markdown(advice).encode(),
        "advice.html": render(advice).encode(),
        PICTURE: accuracy_plot(advice).encode(),
    }
    if stream is not None:
        contents[_STREAM] = canonical_json(stream)
    for name, content in contents.items():
        replace_file(out / name, content)
        click.echo(f"wrote {out / name}", err=True)
