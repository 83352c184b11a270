"""`cad-edge explain`: questions about an image file, answered in words."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click

from cad_edge import options
from cad_edge.data.folder import images_in
from cad_edge_runtime.claimed_output import claimed_output
from cad_edge_runtime.conversation import Conversation
from cad_edge_runtime.detector import Detector
from cad_edge_runtime.explanation import MOST_TOKENS, require_length

EMBEDDED = "llava-small"
"""The language model that comes with cad-edge."""


@click.command()
@options.bundle
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--question", help="What to ask [default: the question that the product was learned with]."
)
@options.task()
@click.option(
    "--max-tokens",
    type=int,
    default=MOST_TOKENS,
    show_default=True,
    metavar="NUMBER",
    help="Longest answer, in tokens of the language model.",
)
@click.option(
    "--conversation",
    is_flag=True,
    help="Read further questions from standard input afterwards, one per line.",
)
@options.device
@options.threads
@options.max_pixels
@options.trusted_keys
def explain(
    bundle: Path,
    image: Path,
    question: str | None,
    task: str | None,
    max_tokens: int,
    conversation: bool,
    device: str,
    threads: int | None,
    max_pixels: int,
) -> None:
    """Ask BUNDLE a question about IMAGE and print the answer as it is generated.

    The product must have been learned and exported with a language model. Where the bundle looks at
    several views of a part, IMAGE is the folder that holds them.
    """
    require_length(max_tokens)
    _tolerate()
    with (
        claimed_output() as output,
        Detector.open(
            bundle, device=device, threads=threads, watch=False, max_pixels=max_pixels
        ) as detector,
    ):
        if (note := note_on_words(detector.manifest.backbone.id)) is not None:
            click.echo(note, err=True)
        several = detector.views > 1 and image.is_dir()
        talk = detector.conversation(images_in(image) if several else image, task)
        _answer(talk, question, max_tokens, output)
        if conversation:
            for line in _questions():
                _answer(talk, line, max_tokens, output)


def note_on_words(backbone: str) -> str | None:
    """Say what words of the embedded model are worth; None for a pretrained one.

    Examples
    --------
    >>> note_on_words("llava:models/onevision") is None
    True
    """
    if backbone != EMBEDDED:
        return None
    return (
        f"{EMBEDDED} was taught on drawn parts: its words show how explain works, and a kind of "
        "defect that they name is a guess; for words to act on learn with --backbone llava:FOLDER"
    )


def _answer(
    talk: Conversation, question: str | None, max_tokens: int, output: TextIO | None
) -> None:
    for piece in talk.stream(question, max_tokens):
        click.echo(piece, nl=False, file=output)
    click.echo(file=output)


def _questions() -> Iterator[str]:
    """Lines of standard input; empty ones are no questions."""
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


def _tolerate() -> None:
    """Let no character of a question or an answer be an error, whatever the terminal can show."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
