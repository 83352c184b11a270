"""Writes that survive a power cut: a temporary name, fsync, rename, fsync of the folder.

Whatever is written under a temporary name is removed again when the write fails, so that a full
disk leaves nothing behind. Only a killed process leaves temporary names; the next writer removes
them.
"""

import errno
import os
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cad_edge.errors import BundleError

TEMPORARY = ".tmp-"
_DRAWN = re.compile(re.escape(TEMPORARY) + "[0-9]+-[0-9a-f]{32}")
_BINARY = getattr(os, "O_BINARY", 0)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable; a rename alone is atomic but may be lost."""
    if sys.platform == "win32":  # a folder cannot be opened there, and NTFS journals the rename
        return
    # Anything else of that name, as a FIFO, is an error and nothing to wait for.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_folder(folder: Path) -> None:
    """Create ``folder`` and its parents durably."""
    if folder.is_dir():
        return
    if folder.exists():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    ensure_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def write_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a new file and wait until its bytes are on the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """Give a free name beside ``target`` and remove what is left there; nothing is created.

    Raises
    ------
    BundleError
        In place of any OSError inside the block, with the reason that the system gave.
    """
    temporary = target.parent / f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        ensure_folder(target.parent)
        yield temporary
    except OSError as problem:
        raise BundleError(
            f"{target} could not be written ({problem.strerror or problem}); "
            "nothing was changed, so make room or mend the folder and try again"
        ) from problem
    finally:
        remove(temporary)


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of ``path``: a reader sees the old bytes or the new ones."""
    with temporary_beside(path) as temporary:
        write_file(temporary, [data])
        os.replace(temporary, path)  # noqa: PTH105 - one call that fault tests can intercept
        sync_folder(path.parent)


def temporary_in(folders: Iterable[Path]) -> list[Path]:
    """List what killed writers of ``folders`` have left; whoever asks holds their lock."""
    found: list[Path] = []
    for folder in folders:
        if folder.is_dir() and not folder.is_symlink():
            names = (entry.name for entry in os.scandir(folder))
            found += [folder / name for name in names if name.startswith(TEMPORARY)]
    return sorted(found)


def remove_left(folders: Iterable[Path]) -> None:
    """Remove what killed writers of ``folders`` have left; the caller holds their lock.

    Only names as `temporary_beside` draws them: a folder may be given that holds other things, too.
    """
    for path in temporary_in(folders):
        if _DRAWN.fullmatch(path.name):
            remove(path)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; no link is followed, and 0 where none is."""
    try:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            return found.st_size
        return sum(size_of(Path(entry)) for entry in os.scandir(path))
    except OSError:
        return 0


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there; what cannot be removed is left to `gc`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
