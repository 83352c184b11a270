"""Why a file of a bundle cannot be read, and who can do something about it.

A file that is missing or is another thing than it should be is the bundle's fault, and copying it
again helps. Little memory, missing rights and too many open files are those of this process, and a
new copy would be refused just the same.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cad_edge.errors import BundleError, IntegrityError

_OF_THE_PROCESS = {
    errno.EACCES: "allow this user to read it",
    errno.EPERM: "allow this user to read it",
    errno.EMFILE: "close files, or raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close files, or raise the system's limit of open files",
}
_NO_MEMORY = "there is not enough memory; end other programs, or give this one more memory"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say in one sentence what kept a block from reading ``path``.

    Raises
    ------
    IntegrityError
        The file is missing, is no plain file, or its disk does not give it.
    BundleError
        This process has not the memory, the rights or the open files.
    """
    try:
        yield
    except MemoryError:
        raise BundleError(f"{path} cannot be read: {_NO_MEMORY}") from None
    except OSError as problem:
        raise unreadable(path, problem) from None


def unreadable(path: Path, problem: OSError) -> BundleError:
    """Turn what the system said of ``path`` into an error with advice."""
    if problem.errno == errno.ENOMEM:
        return BundleError(f"{path} cannot be read: {_NO_MEMORY}")
    said = problem.strerror or (os.strerror(problem.errno) if problem.errno else str(problem))
    if problem.errno in _OF_THE_PROCESS:
        return BundleError(f"{path} cannot be read: {said}; {_OF_THE_PROCESS[problem.errno]}")
    return IntegrityError(f"{path} cannot be read: {said}; copy or export the bundle again")
