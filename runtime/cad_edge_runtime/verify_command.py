"""The command that checks a bundle after it was copied, as a detector would."""

from pathlib import Path

import click

from cad_edge import options
from cad_edge.errors import BundleError, one_line
from cad_edge.store.bundle import Bundle
from cad_edge_runtime.verification import problems_of, refusal_of, try_out


@click.command()
@options.bundle
@click.option(
    "--open",
    "opened",
    is_flag=True,
    help="Open the version in force as well, and inspect a grey frame of every product.",
)
@options.device
@options.trusted_keys
def verify(bundle: Path, opened: bool, device: str) -> None:
    """Check every byte of BUNDLE, and whether a detector would open the version in force.

    Graphs, tensors and how they are joined are checked without ONNX Runtime. With --open the graphs
    are loaded on the device and answer a frame, which finds what only they can tell.

    Every fault is named on stderr, and with one the exit status is 1: also where it is of an older
    version, or of a file that belongs to none. The last line says whether the version in force is
    itself sound.
    """
    store = Bundle(bundle)
    problems = problems_of(store)
    refused = bool(problems) and refusal_of(store) is not None
    unanswered = try_out(bundle, device) if opened and not refused else []
    faults = dict.fromkeys([*problems, *unanswered])
    for fault in faults:
        click.echo(f"Error: {fault}", err=True)
    said = _standing(store, bool(faults), refused, bool(unanswered), opened)
    click.echo(one_line(f"{bundle}: {said}"))
    if faults:
        raise click.exceptions.Exit(1)


def _standing(store: Bundle, faults: bool, refused: bool, unanswered: bool, opened: bool) -> str:
    """Say of the version in force whether the line can go on with it, whatever else was found."""
    try:
        version = f"version {store.pointer(trusted=False).version}"
    except BundleError:
        return "no version is in force that a detector would open"
    answers = " and answers" if opened else ""
    if refused:
        return f"{version} is in force and a detector would refuse it"
    if unanswered:
        return f"{version} is in force and does not answer here for every product"
    if faults:
        found = "in spite of the faults found"
        return f"{version} is in force and itself sound: a detector opens it{answers} {found}"
    return f"{version} is sound{answers}"
