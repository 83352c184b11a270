"""What the studies of the open categories share: their command line, and what a result states."""

from collections.abc import Callable
from pathlib import Path

import click

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY

RESULTS = REPOSITORY / "docs" / "results"


class Study(click.Command):
    """A command that says what a user can act on in one sentence."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the study."""
        try:
            return super().invoke(ctx)
        except CadEdgeError as problem:
            raise click.ClickException(str(problem)) from None


def study(name: str, result: Path) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function of ``data``, ``out``, ``tasks``, ``threads`` and own options.

    ``result`` is where it writes unless --out says otherwise.
    """
    place = click.Path(path_type=Path)
    shared = [
        click.option("--data", type=place, help="Folder of the open categories."),
        click.option("--out", type=place, default=result, show_default=False),
        click.option("--task", "tasks", multiple=True, help="Only this category; repeatable."),
        click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True),
    ]

    def command(run: Callable[..., None]) -> click.Command:
        for option in shared:
            run = option(run)
        return click.command(name, cls=Study)(run)

    return command


def made_with(threads: int | None = None) -> dict[str, object]:
    """Commit, machine, threads where they are stated, and versions, for a result file."""
    stated = {} if threads is None else {"threads": threads}
    return {
        "commit": commit_of(REPOSITORY),
        "machine": describe_machine(),
        **stated,
        "versions": versions(),
    }
