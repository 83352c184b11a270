"""Standard output for what a command says, and for nothing else.

Programs read the lines of `cad-edge detect`. Libraries print there too, some of them below Python,
where no redirection of ``sys.stdout`` reaches.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_OUTPUT, _ERRORS = 1, 2  # file descriptors


@contextmanager
def claimed_output() -> Iterator[TextIO | None]:
    """Give a stream to standard output; what others print there meanwhile goes to standard error.

    Where standard output is no file of the process, as in a test, or closed, it is given as it is.
    """
    stream = sys.stdout
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):
        number = None
    if number != _OUTPUT:
        yield stream
        return
    stream.flush()
    kept = os.dup(_OUTPUT)
    with open(kept, "w", encoding=stream.encoding, errors=stream.errors) as ours:  # noqa: PTH123
        _lead_to_errors()
        try:
            yield ours
        finally:
            stream.flush()
            os.dup2(kept, _OUTPUT)


def _lead_to_errors() -> None:
    try:
        os.dup2(_ERRORS, _OUTPUT)
    except OSError:  # standard error is closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _OUTPUT)
        os.close(nowhere)
