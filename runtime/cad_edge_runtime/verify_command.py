"""The command that checks a bundle after it was copied, as a detector would."""

from pathlib import Path

import click

from cad_edge import options
from cad_edge.store.bundle import Bundle
from cad_edge_runtime.verification import problems_of, try_out


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
    """
    store = Bundle(bundle)
    problems = problems_of(store)
    if not problems and opened:
        problems = try_out(bundle, device)
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(1)
    pointer = store.pointer()
    said = "is sound and answers" if opened else "is sound"
    click.echo(f"{bundle}: version {pointer.version} {said}")
