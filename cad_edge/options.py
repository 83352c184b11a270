"""Options that commands share: one name has one sentence, one type and one meaning everywhere.

A command takes them as decorators, ``@options.stream``. CONTRIBUTING.md has the manner in which an
option is named, and tests/house/test_options.py keeps it.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import click

from cad_edge.data.dataset import Layout
from cad_edge.data.image_limits import MAXIMUM_PIXELS, MINIMUM_SIDE
from cad_edge.errors import OptionError
from cad_edge.option import Option as Option
from cad_edge.trust_options import expires as expires
from cad_edge.trust_options import sign as sign
from cad_edge.trust_options import trusted_keys as trusted_keys

FC = TypeVar("FC", bound=Callable[..., Any] | click.Command)

SMALLEST_SIDE, LARGEST_SIDE = 64, 2048  # pixels of the input's side
LARGEST_SEED = 2**32 - 1


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


bundle = click.argument("bundle", type=click.Path(path_type=Path))
"""A bundle that is there."""

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


def method(several: bool = False) -> Callable[[FC], FC]:
    """Choose how products are learned; ``several`` methods are compared."""
    return click.option(
        "--method",
        "methods" if several else "method",
        cls=Option,
        multiple=several,
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
