"""Options that commands share: one name has one sentence, one type and one meaning everywhere.

A command takes them as decorators, ``@options.stream``. CONTRIBUTING.md has the manner in which an
option is named, and tests/house/test_options.py keeps it. The names that a help text lists are
those that the code knows; they are fetched when the help is shown, and not before, so that no
command imports torch for its options.
"""

import importlib
import math
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import click

from cad_edge.data.dataset import Layout
from cad_edge.data.image_limits import MAXIMUM_PIXELS, MINIMUM_SIDE
from cad_edge.errors import CadEdgeError, OptionError
from cad_edge.store.trust import TRUSTED_KEYS

FC = TypeVar("FC", bound=Callable[..., Any] | click.Command)

SMALLEST_SIDE, LARGEST_SIDE = 64, 2048  # pixels of the input's side
LARGEST_SEED = 2**32 - 1

_LISTS = {
    "{methods}": ("cad_edge_training.methods", "method_names"),
    "{backbones}": ("cad_edge_training.backbones", "backbone_names"),
    "{devices}": ("cad_edge_runtime.device", "device_names"),
}
"""Where the names are found that take these places in a help text: module and function."""


class Option(click.Option):
    """An option whose help lists the names that the code knows, and says whether it repeats."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Fill in the names."""
        record = super().get_help_record(ctx)
        if record is None:
            return None
        option, text = record
        if self.multiple and self.help is not None:
            text = text.replace(self.help, f"{self.help} May be repeated.", 1)
        for place, (module, function) in _LISTS.items():
            if place in text:
                text = text.replace(place, _names(module, function))
        return option, text


def _names(module: str, function: str) -> str:
    """Join names; a file among them that cannot be read does not hide the rest of a help text."""
    try:
        names: list[str] = getattr(importlib.import_module(module), function)()
    except CadEdgeError as problem:
        return f"(not listed: {problem})"
    return ", ".join(names)


def input_side(
    ctx: click.Context, option: click.Parameter, value: str | int | None
) -> int | Literal["auto"] | None:
    """Return a number of pixels or ``auto``, as a callback of click."""
    if value is None or value == "auto":
        return None if value is None else "auto"
    text = str(value)
    if text.isascii() and text.isdecimal() and SMALLEST_SIDE <= int(text[:9]) <= LARGEST_SIDE:
        return int(text)
    limits = f"a number of pixels from {SMALLEST_SIDE} to {LARGEST_SIDE}"
    raise click.BadParameter(f"{text!r} is neither auto nor {limits}", ctx, option)


def positive(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Refuse what is no finite number above 0, as a callback of click."""
    if value is not None and (not math.isfinite(value) or value <= 0):
        raise OptionError(f"{option.opts[0]} {value:g} is not allowed; give a number above 0")
    return value


def share(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Refuse what does not lie between 0 and 1, as a callback of click."""
    if value is not None and not 0 < value < 1:
        raise OptionError(
            f"{option.opts[0]} {value:g} is not allowed; give a share between 0 and 1"
        )
    return value


def _trust(ctx: click.Context, option: click.Parameter, value: tuple[Path, ...]) -> None:
    """Trust keys for as long as the command runs, in the processes that it starts as well."""
    if not value:
        return
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
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither a date (2027-01-31) nor a time (2027-01-31T18:00+01:00)",
            ctx,
            option,
        ) from None
    if len(value) <= len("2027-01-31"):
        found += timedelta(days=1)
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


bundle = click.argument("bundle", type=click.Path(path_type=Path))
"""A bundle that is there."""

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

stream = click.option(
    "--stream",
    cls=Option,
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="The images: a stream file (YAML or JSON) that lists products, a product's folder "
    "(train/good, test/...), or a folder of such folders. Layouts (docs/data.md): "
    f"{', '.join(get_args(Layout))}.",
)

out_report = click.option(
    "--out",
    cls=Option,
    type=click.Path(path_type=Path),
    metavar="DIR|FILE.json",
    help="Write the report: JSON, Markdown and HTML into a folder, or JSON alone into a file.",
)


def out_folder(default: Path | None = None) -> Callable[[FC], FC]:
    """Say where a command puts the files that it makes; without a default it is required."""
    return click.option(
        "--out",
        cls=Option,
        required=default is None,
        default=default,
        show_default=default is not None,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder for what this command makes; created if it does not exist.",
    )


device = click.option(
    "--device",
    cls=Option,
    default="auto",
    show_default=True,
    metavar="NAME",
    help="What graphs run on: {devices}, or a GPU by number as in cuda:1. auto takes CUDA where it "
    "works, and the CPU where it does not.",
)

max_pixels = click.option(
    "--max-pixels",
    cls=Option,
    type=click.IntRange(min=MINIMUM_SIDE**2),
    default=MAXIMUM_PIXELS,
    show_default=True,
    metavar="NUMBER",
    help="How many pixels an image may have; larger ones are refused before they are decoded.",
)

threads = click.option(
    "--threads",
    cls=Option,
    type=click.IntRange(min=1),
    help="Threads to compute with [default: all cores].",
)


def seed(several: bool = False) -> Callable[[FC], FC]:
    """Choose what random choices are drawn by; of ``several`` seeds each is a run."""
    return click.option(
        "--seed",
        "seeds" if several else "seed",
        cls=Option,
        multiple=several,
        default=(0,) if several else 0,
        show_default=True,
        type=click.IntRange(0, LARGEST_SEED),
        help="Seed of all random choices.",
    )


method = click.option(
    "--method",
    cls=Option,
    metavar="NAME",
    help="How to learn: {methods} [default: patch_memory; with clip:ID and dinov2:ID, cmpmb].",
)


def backbone(default: str | None) -> Callable[[FC], FC]:
    """Choose the pretrained network; its default is None where artifacts name it."""
    words = "Pretrained network that stays as it is: {backbones}, where ID is a hub id or a folder."
    return click.option(
        "--backbone",
        cls=Option,
        metavar="NAME",
        default=default,
        show_default=default is not None,
        help=words if default is not None else f"{words} [default: as in ARTIFACTS]",
    )


size = click.option(
    "--size",
    cls=Option,
    callback=input_side,
    metavar="PIXELS|auto",
    help="Side of the network's input, in pixels. auto chooses for each product the smaller of two "
    "sizes (efficientnet-lite0: 224 and 288) if its good parts keep their detail at it, else the "
    "larger [default: the backbone's own].",
)

settings = click.option(
    "--set",
    "settings",
    cls=Option,
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the method; a name that it does not have is answered with all of them.",
)


def task(required: bool = False) -> Callable[[FC], FC]:
    """Name a product of a bundle; where that is not required, it is recognised."""
    words = "Name of the product, as `cad-edge tasks` lists it"
    return click.option(
        "--task",
        cls=Option,
        required=required,
        metavar="NAME",
        help=f"{words}." if required else f"{words} [default: recognised in the image].",
    )


depth = click.option(
    "--depth",
    cls=Option,
    type=click.Path(path_type=Path),
    metavar="DIR|FILE",
    help="Depth of the images: a folder of files named as the images, or a file for one image.",
)

budget_ms = click.option(
    "--budget-ms",
    cls=Option,
    type=float,
    metavar="MS",
    callback=positive,
    help="Longest time that a frame may take, in milliseconds.",
)

budget_mb = click.option(
    "--budget-mb",
    cls=Option,
    type=float,
    metavar="MB",
    callback=positive,
    help="Highest peak memory that a device process may have, in MB (10^6 bytes).",
)


def false_reject_rate(default: float | None = None) -> Callable[[FC], FC]:
    """State which share of good parts may be rejected; without a default it is required."""
    words = "Share of good parts that may be rejected, between 0 and 1"
    return click.option(
        "--false-reject-rate",
        "rate",
        cls=Option,
        required=default is None,
        type=float,
        metavar="SHARE",
        callback=share,
        help=f"{words}." if default is None else f"{words} [default: {default:g}].",
    )
