"""Names that options had once: they still work, are in no help, and say the new name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

FC = TypeVar("FC", bound=Callable[..., Any] | click.Command)


class _Unnamed(click.Argument):
    """An argument that the usage line leaves out."""

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:
        return []


def deprecated(
    old: str, new: str, meant: Callable[[Path], Path] = lambda path: path
) -> Callable[[FC], FC]:
    """Take the value of ``new`` from an option, or an argument, that was called ``old``.

    Parameters
    ----------
    old
        With dashes an option; without, an argument.
    new
        An option of the same command. What is given by this name counts more.
    meant
        Value of ``new`` for that of ``old``.
    """

    def take(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
        if value is None:
            return
        click.echo(f"Warning: {old} is now {new}; write {new} {meant(value)}", err=True)
        name, known = new.removeprefix("--"), ctx.default_map or {}
        # A folder gets all files of a report, and so counts more than the name of one of them.
        single = name in known and meant(value).suffix == ".json"
        ctx.default_map = known if single else {**known, name: meant(value)}

    # Before all others, so that `new` finds what it takes for its default.
    if old.startswith("-"):
        return click.option(
            old,
            type=click.Path(path_type=Path),
            hidden=True,
            is_eager=True,
            expose_value=False,
            callback=take,
        )
    return click.argument(
        f"old_{old.lower()}",
        cls=_Unnamed,
        type=click.Path(path_type=Path),
        required=False,
        is_eager=True,
        expose_value=False,
        callback=take,
    )
