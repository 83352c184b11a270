"""`cad-edge advise --data DIR`: which settings to take for the images and the machine at hand."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cad_edge.data.stream import Stream
from cad_edge.schema import canonical_json
from cad_edge.store.atomic_write import replace_file
from cad_edge_benchmarks.advise.page import render
from cad_edge_benchmarks.advise.pareto_front import Budgets
from cad_edge_benchmarks.advise.plot import accuracy_plot
from cad_edge_benchmarks.advise.products import read_products
from cad_edge_benchmarks.advise.recommendation import judge
from cad_edge_benchmarks.advise.schema import Advice
from cad_edge_benchmarks.advise.search import Order, sweep
from cad_edge_benchmarks.advise.search_space import Space
from cad_edge_benchmarks.advise.text import PICTURE, markdown, terminal
from cad_edge_benchmarks.advise.trials import Taught
from cad_edge_benchmarks.instruments.budgets import check_memory_budget, limit
from cad_edge_benchmarks.instruments.command_runner import BACKBONE
from cad_edge_benchmarks.reporting.places import check_folder
from cad_edge_runtime.device import choose_device
from cad_edge_runtime.session import available_cores, load_onnxruntime

_STREAM = "line.json"


@click.command("advise")
@click.option(
    "--data",
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
    "--work",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep what was learned there; a call that was interrupted goes on.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the advice there: JSON, Markdown, HTML and the plot as SVG.",
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
    work: Path | None,
    out: Path | None,
    seed: int,
    threads: int | None,
    device: str,
) -> None:
    """Try settings on your images and this machine, and name the one to take.

    No test image touches learning or thresholds; one half of the test images chooses the setting
    and the other half reports it.
    """
    for option, place in (("--out", out), ("--work", work)):
        if place is not None:
            check_folder(option, place)
    check_memory_budget(budget_mb)
    from cad_edge_training.methods import default_method

    method = method or default_method(backbone)
    order = Order(
        data=data,
        stream=read_products(data),
        space=_space(method, backbone, device, fixed, axes),
        taught=Taught(method, backbone, seed, device, threads or available_cores()),
        budgets=Budgets(budget_ms, budget_mb),
    )
    stream_file = data if data.is_file() else (out or Path()) / _STREAM
    with _working(work) as place:
        swept = sweep(order, place, lambda doing: click.echo(doing, err=True))
    advice = judge(order, swept, str(stream_file))
    if out is not None:
        _write(out, advice, None if data.is_file() else order.stream)
    click.echo(terminal(advice))
    if out is None and advice.commands and not data.is_file():
        click.echo(f"\n{_STREAM}, which --out writes:\n{canonical_json(order.stream).decode()}")
    if advice.taken is None:
        raise click.exceptions.Exit(1)


def _space(
    method: str, backbone: str, device: str, fixed: tuple[str, ...], axes: tuple[str, ...]
) -> Space:
    """Axes to sweep; what is wrong with the options is said before anything is learned."""
    from cad_edge_training.backbones import load_backbone
    from cad_edge_training.commands import read_settings
    from cad_edge_training.train import TrainingPlan, read_config

    options = read_settings(fixed)
    read_config(TrainingPlan(method, backbone, None, options, 0))
    load_backbone(backbone)
    found = choose_device(device, load_onnxruntime().get_available_providers())
    return Space(method, backbone, found.name, options, axes)


@contextmanager
def _working(work: Path | None) -> Iterator[Path]:
    if work is not None:
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="cad-edge-advise-") as place:
        yield Path(place)


def _write(out: Path, advice: Advice, stream: Stream | None) -> None:
    """Write the advice, and the stream file that its commands name where the user has none."""
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
