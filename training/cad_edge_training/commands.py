"""The command `cad-edge train`."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from cad_edge.errors import OptionError
from cad_edge.stream import read_stream
from cad_edge_training.backbones import DEFAULT_BACKBONE
from cad_edge_training.learned import Progress


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
    help="Folder of artifacts; tasks that it holds already are not learned again.",
)
@click.option("--method", default="cmpmb", show_default=True, help="How to learn.")
@click.option(
    "--backbone",
    default=DEFAULT_BACKBONE,
    show_default=True,
    help="Frozen network: efficientnet-lite0, llava-small, efficientnet:ID, clip:ID, dinov2:ID or "
    "llava:ID (hub id or folder).",
)
@click.option(
    "--size", type=click.IntRange(64, 2048), help="Input side in pixels [default: the backbone's]."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the method; repeat for several. A wrong name is answered with all of them.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of all random choices.",
)
@click.option(
    "--keep-outliers",
    is_flag=True,
    help="Let odd ones among the good parts have a say in thresholds; they are named either way.",
)
def train(
    stream_file: Path,
    out: Path,
    method: str,
    backbone: str,
    size: int | None,
    settings: tuple[str, ...],
    seed: int,
    keep_outliers: bool,
) -> None:
    """Learn, in order, the tasks of a stream that OUT does not hold yet."""
    # Before torch loads its threads: those that spin while they wait slow learning tenfold and more
    # as soon as another program needs a core, and gain nothing that was measured when none does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from cad_edge_training.processes import started_processes
    from cad_edge_training.train import Plan
    from cad_edge_training.train import train as run

    stream = read_stream(stream_file)
    plan = Plan(method, backbone, size, read_settings(settings), seed, keep_outliers)
    processes = started_processes()
    with progress_bars(processes.leads) as progress:
        learned = run(stream, out, plan, progress)
    processes.end()
    if not processes.leads:
        return
    kept = len(stream.tasks) - len(learned)
    click.echo(
        f"learned {len(learned)} task{'' if len(learned) == 1 else 's'} into {out}"
        + (f"; {kept} were there already" if kept else "")
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
def progress_bars(shown: bool = True) -> Iterator[Callable[[str], Progress]]:
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

        def of_task(name: str) -> Progress:
            started.append(name)
            if shown and not console.is_terminal:
                click.echo(f"{name} ({len(started)})", err=True)

            def show(doing: str, done: int, total: int) -> None:
                bars.update(line, description=f"{name}: {doing}", completed=done, total=total)

            return show

        yield of_task
