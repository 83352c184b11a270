"""Folders that are being written, and those that a killed process has left.

Whoever writes a folder holds a lock on it until it has its name, and the system frees that lock
when its holder dies. So another process can tell work from leavings, in another container as well,
where the same process id is somebody else.
"""

import os
import re
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cad_edge.store.atomic_write import TEMPORARY, remove, temporary_in

if sys.platform != "win32":
    import fcntl

_NAME = re.compile(re.escape(TEMPORARY) + r".+?-(?P<process>[0-9]+)(-[0-9a-f]{32})?")
_SHORT = 5.0  # seconds; by then another thread of this process has locked what it made
_LONG = 3600.0  # seconds; a process id may be somebody else's by then
_DAY = 86400.0  # seconds, where the file system knows no locks


@contextmanager
def unfinished_folder(folder: Path, name: str) -> Iterator[Path]:
    """Make a folder in ``folder`` to be renamed by the block; what is left of it goes.

    Parameters
    ----------
    folder
        Which is there.
    name
        What the temporary folder is for; part of its own name.

    Raises
    ------
    OSError
        The disk refused.
    """
    temporary = folder / f"{TEMPORARY}{name}-{os.getpid()}-{uuid.uuid4().hex}"
    descriptor = None
    try:
        temporary.mkdir()
        with suppress(OSError):  # where the file system knows no locks
            descriptor = _locked(temporary)
        yield temporary
    finally:
        remove(temporary)
        if descriptor is not None:
            os.close(descriptor)


def remove_unfinished(folder: Path) -> list[Path]:
    """Remove what processes that are gone have left unfinished in ``folder``; return it."""
    found = [path for path in temporary_in([folder]) if _is_left(path)]
    for path in found:
        remove(path)
    return found


def _is_left(path: Path) -> bool:
    known = _NAME.fullmatch(path.name)
    try:
        age = time.time() - os.lstat(path).st_mtime
    except OSError:
        return False
    if known is None or path.is_symlink() or not path.is_dir():
        return False
    if sys.platform == "win32":
        return age > _DAY
    try:
        descriptor = _locked(path)
    except BlockingIOError:
        return False
    except OSError:
        return age > _DAY
    os.close(descriptor)
    process = int(known["process"])
    mine = process == os.getpid() and age > _SHORT
    return mine or age > _LONG or not _runs(process)


def _locked(folder: Path) -> int:
    """Lock a folder and return the descriptor that holds the lock; BlockingIOError if it is."""
    if sys.platform == "win32":  # a folder cannot be opened there
        return os.open(os.devnull, os.O_RDONLY)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
