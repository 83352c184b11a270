"""Why a file of a bundle cannot be read, and who can do something about it.

A file that is missing or is another thing than it should be is the bundle's fault, and copying it
again helps. Little memory, missing rights and too many open files are those of this process, and a
new copy would be refused just the same.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cad_edge.errors import BundleError, IntegrityError

_OF_THE_PROCESS = {
    errno.EACCES: "allow this user to read it",
    errno.EPERM: "allow this user to read it",
    errno.EMFILE: "close files, or raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close files, or raise the system's limit of open files",
    errno.ENOMEM: "end other programs, or give this one more memory",
}
NO_MEMORY = "there is not enough memory; end other programs, or give this one more memory"


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
        raise BundleError(f"{path} cannot be read: {NO_MEMORY}") from None
    except OSError as problem:
        raise unreadable(path, problem) from None


def unreadable(path: Path, problem: OSError) -> BundleError:
    """Turn what the system said of ``path`` into an error with advice."""
    advice = advice_about(problem)
    kind = IntegrityError if advice is None else BundleError
    return kind(
        f"{path} cannot be read: {words_of(problem)}; {advice or 'copy or export the bundle again'}"
    )


def advice_about(problem: OSError) -> str | None:
    """Say what to do where this process is the reason; None where the file is."""
    return _OF_THE_PROCESS.get(problem.errno or 0)


def words_of(problem: OSError) -> str:
    """Return what the system said, without the path."""
    return problem.strerror or str(problem)
