"""Options about who vouches for a version, and whose word counts; part of `cad_edge.options`."""

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click

from cad_edge.option import Option
from cad_edge.store.trust import TRUSTED_KEYS


def _trust(ctx: click.Context, option: click.Parameter, value: tuple[Path, ...]) -> None:
    """Trust keys for as long as the command runs, in the processes that it starts as well."""
    if not value:
        return
    if any(one in (Path(), Path()) for one in value):
        raise click.BadParameter("it names no file; is a variable empty?", ctx, option)
    before = os.environ.get(TRUSTED_KEYS)
    os.environ[TRUSTED_KEYS] = os.pathsep.join(str(one.absolute()) for one in value)

    def restore() -> None:
        if before is None:
            os.environ.pop(TRUSTED_KEYS, None)
        else:
            os.environ[TRUSTED_KEYS] = before

    ctx.call_on_close(restore)


def _date(ctx: click.Context, option: click.Parameter, value: str | None) -> datetime | None:
    """Read a date, of which the whole day counts, or a time; UTC where no zone is given."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        if len(value) <= len("2027-01-31"):
            found += timedelta(days=1)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither a date (2027-01-31) nor a time (2027-01-31T18:00+01:00)",
            ctx,
            option,
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


trusted_keys = click.option(
    "--trusted-key",
    cls=Option,
    multiple=True,
    expose_value=False,
    callback=_trust,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Public key (a PEM file, or a folder of them): only versions that it has signed are "
    f"accepted [default: those of {TRUSTED_KEYS}, without which signatures are not looked at].",
)

sign = click.option(
    "--sign",
    cls=Option,
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Sign the version with this private key: Ed25519, a PEM file.",
)

expires = click.option(
    "--expires",
    cls=Option,
    callback=_date,
    metavar="DATE",
    help="Day (2027-01-31), or time, until which the signature is accepted [default: for ever].",
)
