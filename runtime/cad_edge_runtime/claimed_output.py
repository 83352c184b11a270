"""Standard output for what a command says, and for nothing else.

Programs read the lines of `cad-edge detect`. Libraries print there too, some of them below Python,
where no redirection of ``sys.stdout`` reaches.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from cad_edge.standard_output import OUTPUT, named_stream

_ERRORS = 2  # file descriptor


@contextmanager
def claimed_output() -> Iterator[TextIO | None]:
    """Give a stream to standard output; what others print there meanwhile goes to standard error.

    Where standard output is no file of the process, as in a test, or closed, it is given as it is.
    What fails there is an OSError with the name `cad_edge.standard_output.NAME`.
    """
    stream = sys.stdout
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):
        number = None
    if number != OUTPUT or not isinstance(stream, io.TextIOWrapper):
        yield stream
        return
    stream.flush()
    kept = os.dup(OUTPUT)
    with named_stream(kept, stream) as ours:
        _lead_to_errors()
        try:
            yield ours
        finally:
            stream.flush()
            os.dup2(kept, OUTPUT)


def _lead_to_errors() -> None:
    try:
        os.dup2(_ERRORS, OUTPUT)
    except OSError:  # standard error is closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, OUTPUT)
        os.close(nowhere)
