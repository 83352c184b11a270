"""Standard output: refused where it is closed, and named where it cannot be written.

Python hands nothing to a closed standard output and says nothing of it, so that a command would
succeed whose results are nowhere. The first file that is opened then takes its descriptor as well,
and what a library prints would be written into that file.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeGuard

NAME = "standard output"
"""The file name in an OSError about it."""

OUTPUT = 1  # file descriptor


class _NamedFile(io.FileIO):
    """A file without a path whose errors have a name all the same."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401  (buffers are untyped before 3.12)
        try:
            return super().write(data)
        except OSError as problem:
            raise OSError(problem.errno, problem.strerror, NAME) from None


def named_stream(descriptor: int, like: io.TextIOWrapper, closefd: bool = True) -> TextIO:
    """Open a stream to standard output, by whatever descriptor.

    Parameters
    ----------
    descriptor
        Of the file.
    like
        The stream whose encoding, and manner of buffering, it has.
    closefd
        Whether the descriptor is closed with the stream.
    """
    return io.TextIOWrapper(
        io.BufferedWriter(_NamedFile(descriptor, "w", closefd=closefd)),
        like.encoding,
        like.errors,
        line_buffering=like.line_buffering or like.write_through,
    )


@contextmanager
def checked_output() -> Iterator[None]:
    """Let what fails on standard output be an OSError with `NAME`, for a block.

    What could not be written is forgotten at the end: Python would try again when it ends, and
    print a trace of that.
    """
    stream = sys.stdout
    if not _is_output(stream):
        yield
        return
    stream.flush()
    sys.stdout = ours = named_stream(OUTPUT, stream, closefd=False)
    try:
        yield
    finally:
        sys.stdout = stream
        try:
            ours.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, OUTPUT)
            os.close(nowhere)
            ours.flush()


def _is_output(stream: TextIO | None) -> TypeGuard[io.TextIOWrapper]:
    """Whether a stream is standard output by its descriptor; consoles of Windows are not."""
    if not isinstance(stream, io.TextIOWrapper):
        return False
    binary = stream.buffer
    raw = getattr(binary, "raw", binary)
    return type(raw) is io.FileIO and raw.fileno() == OUTPUT
