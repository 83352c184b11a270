"""The command `cad-edge train`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cad_edge import options
from cad_edge.data.products import read_products
from cad_edge.errors import OptionError
from cad_edge_training.backbones import DEFAULT_BACKBONE
from cad_edge_training.product_training import learn

if TYPE_CHECKING:
    from cad_edge_training.input_size import Size
    from cad_edge_training.learned import Progress


@click.command()
@options.stream
@options.out_folder()
@options.method()
@options.backbone(DEFAULT_BACKBONE)
@options.size
@options.budget_ms
@options.settings
@options.seed()
@click.option(
    "--keep-outliers",
    is_flag=True,
    help="Use outliers among the good parts for thresholds, too; they are reported either way.",
)
def train(
    stream: Path,
    out: Path,
    method: str | None,
    backbone: str,
    size: "Size",
    budget_ms: float | None,
    settings: tuple[str, ...],
    seed: int,
    keep_outliers: bool,
) -> None:
    """Learn products from images of good parts, in the order of a stream.

    --out gets an artifact of each product, for `cad-edge export`. Products that it holds already
    are not learned again.

    With --size auto, --budget-ms leaves out sizes at which the backbone alone, in torch on this
    machine, takes longer.
    """
    from cad_edge_training.processes import started_processes

    products = read_products(stream)
    chosen = read_settings(settings)
    processes = started_processes()
    with progress_bars(processes.leads) as progress:
        done = learn(
            products,
            out,
            method,
            backbone,
            size,
            budget_ms,
            chosen,
            seed,
            keep_outliers,
            progress=progress,
            say=click.echo,
        )
    processes.end()
    if not processes.leads:
        return
    click.echo(
        f"learned {len(done.learned)} task{'' if len(done.learned) == 1 else 's'} into {out}"
        + (f"; {len(done.kept)} were there already" if done.kept else "")
    )


def read_settings(settings: Sequence[str]) -> dict[str, str]:
    """Read options given as NAME=VALUE; OptionError for another form or one given twice."""
    given: dict[str, str] = {}
    for name, value in map(_split, settings):
        if name in given:
            raise OptionError(f"--set {name} is given twice; keep one of them")
        given[name] = value
    return given


def _split(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals or not name:
        raise OptionError(f"--set {setting}: write it as NAME=VALUE")
    return name, value


@contextmanager
def progress_bars(shown: bool = True) -> Iterator["Callable[[str], Progress]"]:
    """Show one bar on stderr that says which task is at what; without a terminal names alone."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Bars(*columns, console=console, disable=not (shown and console.is_terminal)) as bars:
        line = bars.add_task("starting", total=None)
        started: list[str] = []

        def of_task(name: str) -> "Progress":
            started.append(name)
            if shown and not console.is_terminal:
                click.echo(f"{name} ({len(started)})", err=True)

            def show(doing: str, done: int, total: int) -> None:
                bars.update(line, description=f"{name}: {doing}", completed=done, total=total)

            return show

        yield of_task
