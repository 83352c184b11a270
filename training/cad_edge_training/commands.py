"""The command `cad-edge train`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cad_edge.data.stream import read_stream
from cad_edge.errors import OptionError
from cad_edge_training.backbones import DEFAULT_BACKBONE, backbone_names
from cad_edge_training.methods import method_names
from cad_edge_training.product_training import LARGEST, LARGEST_SEED, SMALLEST, learn

if TYPE_CHECKING:
    from cad_edge_training.input_size import Size
    from cad_edge_training.learned import Progress

DEFAULT_SIZE: "Size" = None  # what --size is where it is not given; "auto" would choose


def input_side(
    context: click.Context, parameter: click.Parameter, value: str | int | None
) -> "Size":
    """Return a number of pixels or ``auto``; click says what else was given."""
    if value is None or value == "auto":
        return None if value is None else "auto"
    text = str(value)
    if text.isascii() and text.isdecimal() and SMALLEST <= int(text[:9]) <= LARGEST:
        return int(text)
    raise click.BadParameter(
        f"{text!r} is neither auto nor a number of pixels from {SMALLEST} to {LARGEST}",
        context,
        parameter,
    )


@click.command()
@click.option(
    "--stream",
    "stream_file",
    type=click.Path(path_type=Path),
    required=True,
    help="YAML or JSON file that lists the products in order.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of artifacts; tasks already in it are not learned again.",
)
@click.option(
    "--method",
    help=f"How to learn: {', '.join(method_names())} [default: patch_memory; with clip:ID and "
    "dinov2:ID, cmpmb].",
)
@click.option(
    "--backbone",
    default=DEFAULT_BACKBONE,
    show_default=True,
    help=f"Frozen network: {', '.join(backbone_names())}; ID is a hub id or a folder.",
)
@click.option(
    "--size",
    metavar="PIXELS|auto",
    callback=input_side,
    default=DEFAULT_SIZE,
    help="Input side in pixels. auto chooses for each product: the smaller of two sizes if its "
    "good parts keep their detail at it, else the larger (efficientnet-lite0: 224 and 288) "
    "[default: the backbone's own].",
)
@click.option(
    "--budget-ms",
    type=click.FloatRange(min=0, min_open=True),
    help="With --size auto: skip sizes at which the backbone, in torch on this machine, takes more "
    "than this many milliseconds per frame.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the method; may be repeated. An unknown name lists all options.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    default=0,
    show_default=True,
    help="Seed of all random choices.",
)
@click.option(
    "--keep-outliers",
    is_flag=True,
    help="Let outliers among the good parts influence thresholds; they are reported either way.",
)
def train(
    stream_file: Path,
    out: Path,
    method: str | None,
    backbone: str,
    size: "Size",
    budget_ms: float | None,
    settings: tuple[str, ...],
    seed: int,
    keep_outliers: bool,
) -> None:
    """Learn, in order, the tasks of a stream that are not yet in OUT."""
    from cad_edge_training.processes import started_processes

    stream = read_stream(stream_file)
    options = read_settings(settings)
    processes = started_processes()
    with progress_bars(processes.leads) as progress:
        done = learn(
            stream,
            out,
            method,
            backbone,
            size,
            budget_ms,
            options,
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
    options: dict[str, str] = {}
    for name, value in map(_split, settings):
        if name in options:
            raise OptionError(f"--set {name} is given twice; keep one of them")
        options[name] = value
    return options


def _split(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals or not name:
        raise OptionError(f"--set {setting}: write it as NAME=VALUE")
    return name, value


@contextmanager
def progress_bars(shown: bool = True) -> "Iterator[Callable[[str], Progress]]":
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
