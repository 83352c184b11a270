"""Reading files of the written formats as what they must be: plain files of bounded size.

A bundle is copied from machine to machine and may be attacked, so that anything can stand in the
place of a file. Opening a FIFO waits for ever, a device gives bytes without end, and opening some
devices does something. Here all of them are refused at once, by an OSError whose ``strerror`` says
what stands there.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
POINTER_BYTES = 1 << 16
"""Largest ``bundle.json``; one holds 120 bytes, and 64 kB leave room for a signature."""
RECORD_BYTES = 1 << 26
"""Largest manifest or ``artifact.json``; 1,000 tasks of 250 held-out parts make 21 MB."""

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO that has come since lstat does not wait for a writer
    | getattr(os, "O_NOCTTY", 0)
)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotPlainFile(OSError):
    """Something else stands in the place of a file, or a file that belongs there no longer."""


def read_chunks(path: Path, limit: int | None = None, follow: bool = False) -> Iterator[bytes]:
    """Bytes of a plain file in pieces of at most 1 MiB.

    Parameters
    ----------
    path
        The file.
    limit
        Most bytes that it may hold; None: as many as it has when it is opened.
    follow
        Whether it may be a symbolic link to a plain file.

    Raises
    ------
    NotPlainFile
        It is no plain file, is larger than ``limit``, or grows while it is read.
    OSError
        It cannot be read.
    """
    with open_plain(path, limit, follow) as (file, size):
        while chunk := file.read(min(CHUNK, size + 1)):
            size -= len(chunk)
            if size < 0:
                raise _refusal(errno.EBUSY, "it grows while it is read", path)
            yield chunk


def read_plain(path: Path, limit: int | None = None, follow: bool = False) -> bytes:
    """Bytes of a plain file, held once; parameters and errors are those of `read_chunks`."""
    with open_plain(path, limit, follow) as (file, size):
        data = file.read(size + 1)
        while 0 < len(data) < size and (more := file.read(size + 1 - len(data))):
            data += more  # beyond 2 GB, which the system gives in several calls
        if len(data) > size:
            raise _refusal(errno.EBUSY, "it grows while it is read", path)
        return data


@contextmanager
def open_plain(
    path: Path, limit: int | None = None, follow: bool = False
) -> Iterator[tuple[BinaryIO, int]]:
    """Open a plain file for reading; give it with its size in bytes.

    Parameters and errors are those of `read_chunks`.
    """
    try:
        found = path.stat(follow_symlinks=follow)
    except ValueError:
        raise _refusal(errno.EINVAL, "its name holds a NUL character", path) from None
    require_plain(found, path)
    descriptor = os.open(path, _FLAGS | (0 if follow else _NOFOLLOW))
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        require_plain(found, path)
        if limit is not None and found.st_size > limit:
            words = f"it holds {found.st_size:,} bytes, and at most {limit:,} belong there"
            raise _refusal(errno.EFBIG, words, path)
        yield file, found.st_size


def require_plain(found: os.stat_result, path: Path) -> None:
    """Raise NotPlainFile where ``found``, what `os.stat` gave for ``path``, is something else."""
    if stat.S_ISREG(found.st_mode):
        return
    kind = next((name for is_it, name in _KINDS if is_it(found.st_mode)), "something else")
    raise _refusal(errno.EINVAL, f"it is {kind}, not a plain file", path)


def _refusal(number: int, words: str, path: Path) -> NotPlainFile:
    return NotPlainFile(number, words, os.fspath(path))
