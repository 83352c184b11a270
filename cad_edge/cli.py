"""The command line ``cad-edge``: each command is imported when it is used, and not before.

On a device only the runtime is installed; a command that needs more says which extra has it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import click

from cad_edge import __version__, standard_output
from cad_edge.errors import CadEdgeError, one_line
from cad_edge.memory_shortage import shortage_behind


@dataclass(frozen=True)
class Command:
    """Where a command lives, and what is said of it without importing it."""

    module: str
    attribute: str
    extra: str
    """Optional dependencies that it needs; the device's extra is ``cpu``."""

    summary: str


COMMANDS = {
    "check": Command(
        "cad_edge_benchmarks.check.command",
        "check",
        "train",
        "Look for faults in images before learning.",
    ),
    "train": Command(
        "cad_edge_training.commands", "train", "train", "Learn products from images of good parts."
    ),
    "export": Command(
        "cad_edge_export.commands", "export", "train,export", "Add what was learned to a bundle."
    ),
    "detect": Command(
        "cad_edge_runtime.commands", "detect", "cpu", "Inspect images; print a JSON line for each."
    ),
    "explain": Command(
        "cad_edge_runtime.explain_command", "explain", "cpu,explain", "Ask about an image in words."
    ),
    "tasks": Command(
        "cad_edge_runtime.bundle_commands", "tasks", "cpu", "List the products of a bundle."
    ),
    "threshold": Command(
        "cad_edge_runtime.bundle_commands",
        "threshold",
        "cpu",
        "Set a threshold by another false-reject rate.",
    ),
    "verify": Command(
        "cad_edge_runtime.verify_command",
        "verify",
        "cpu",
        "Check whether a device would open a bundle.",
    ),
    "rollback": Command(
        "cad_edge_runtime.version_commands",
        "rollback",
        "cpu",
        "Go back to an older version of a bundle.",
    ),
    "sign": Command(
        "cad_edge_runtime.version_commands",
        "sign_command",
        "cpu,signing",
        "Sign the version of a bundle that is in force.",
    ),
    "gc": Command(
        "cad_edge_runtime.version_commands",
        "gc",
        "cpu",
        "Delete files that only older versions need.",
    ),
    "evaluate": Command(
        "cad_edge_benchmarks.evaluate.command",
        "evaluate",
        "cpu",
        "Measure the accuracy of a bundle on test images.",
    ),
    "benchmark": Command(
        "cad_edge_benchmarks.benchmark.command",
        "benchmark",
        "cpu",
        "Measure time, memory and power on this machine.",
    ),
    "protocol": Command(
        "cad_edge_benchmarks.protocol.command",
        "protocol",
        "train,export",
        "Measure continual learning, step by step.",
    ),
    "advise": Command(
        "cad_edge_benchmarks.advise.command",
        "advise",
        "train,export",
        "Recommend settings for your images and machine.",
    ),
    "demo": Command(
        "cad_edge_benchmarks.demo.command", "demo", "train,export", "See it work in four minutes."
    ),
}


class LazyGroup(click.Group):
    """Knows its commands by name; turns what goes wrong into one sentence."""

    def __call__(self, args: Sequence[str] | None = None) -> object:
        """Be the program `cad-edge`, with the arguments of the process unless others are given."""
        if sys.stdout is None:
            _end(
                f"{standard_output.NAME} is closed, so that results would be lost; redirect it to "
                "a file, or to /dev/null"
            )
        try:
            with standard_output.checked_output():
                return super().__call__(args)
        except Exception as problem:
            if isinstance(problem, OSError) and problem.filename == standard_output.NAME:
                _end(f"{problem.filename}: {problem.strerror}")  # of --help and of --version
            lacking = shortage_behind(problem)
            if lacking is None:
                raise
        _end(
            f"there is not enough memory to run this command ({lacking}); free some, or raise the "
            "limit of this process"
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        place = COMMANDS[cmd_name]
        try:
            found = getattr(importlib.import_module(place.module), place.attribute)
        except ModuleNotFoundError as problem:
            raise _missing(cmd_name, problem) from problem
        if not isinstance(found, click.Command):
            raise TypeError(f"{place.module}:{place.attribute} is no command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; an error that a user can act on is printed as ``Error: <sentence>``."""
        try:
            return super().invoke(ctx)
        except CadEdgeError as problem:
            raise click.ClickException(str(problem)) from problem
        except ModuleNotFoundError as problem:
            raise _missing(ctx.invoked_subcommand or "", problem) from problem
        except BrokenPipeError:
            raise
        except OSError as problem:
            if problem.strerror is None:
                raise
            place = f"{problem.filename}: " if problem.filename else ""
            raise click.ClickException(one_line(f"{place}{problem.strerror}")) from problem
        except click.UsageError as problem:  # it quotes what was given
            problem.message = one_line(problem.message)  # type: ignore[misc]
            raise


def _end(sentence: str) -> NoReturn:
    """End the program as click ends a command that has failed."""
    click.echo(one_line(f"Error: {sentence}"), err=True)
    sys.exit(1)


def _missing(command: str, problem: ModuleNotFoundError) -> click.ClickException:
    """Say what to install; a module of ours that is missing is a broken installation."""
    name = (problem.name or "").partition(".")[0]
    place = COMMANDS.get(command)
    if place is None or name.startswith("cad_edge"):
        return click.ClickException(
            f"this installation of cad-edge is incomplete ({problem}); install it again"
        )
    return click.ClickException(
        f"`cad-edge {command}` needs {name}, which is not installed; run "
        f'`pip install "cad-edge[{place.extra}]"`'
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="cad-edge")
def main() -> None:
    """Find defects on production lines; learn product after product from good parts."""
