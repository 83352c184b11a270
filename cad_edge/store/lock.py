"""The lock that lets one process at a time write to a bundle; readers never need it."""

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cad_edge.errors import BundleError, BundleLocked
from cad_edge.store.atomic_write import ensure_folder, remove_left
from cad_edge.store.plain_file import NotPlainFile, require_plain

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


_WRITTEN = ("objects", "manifests", "signatures")


class WriterLock:
    """An exclusive lock on a file, freed by the system even when its holder is killed.

    Whoever takes it first removes what killed holders were writing.

    The holder's thread may take it again; every other thread, object or process is refused at
    once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owner: int | None = None
        self._guard = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether the calling thread holds the lock through this object."""
        return self._owner == threading.get_ident()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock for a block; BundleLocked with the holder's process id if it is taken."""
        if self.held:
            yield
            return
        descriptor = self._acquire()
        try:
            self._owner = threading.get_ident()
            folder = self.path.parent
            remove_left([folder, *(folder / name for name in _WRITTEN)])
            yield
        finally:
            self._owner = None
            self._release(descriptor)

    def _acquire(self) -> int:
        if not self._guard.acquire(blocking=False):
            raise self._refusal(str(os.getpid()))
        try:
            ensure_folder(self.path.parent)
            descriptor = _open(self.path)
        except NotPlainFile as problem:
            self._guard.release()
            raise BundleError(
                f"{self.path} cannot be locked: {problem.strerror}; remove it"
            ) from None
        except OSError as problem:
            self._guard.release()
            raise BundleError(
                f"{self.path.parent} cannot be written to: {problem.strerror or problem}; give a "
                "folder that this user may write to"
            ) from problem
        try:
            _lock(descriptor)
        except OSError as problem:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            self._guard.release()
            if problem.errno in (errno.EAGAIN, errno.EACCES):
                raise self._refusal(holder) from None
            raise BundleError(
                f"{self.path.parent} lies where files cannot be locked ({problem.strerror}); "
                "write the bundle to a local disk and copy it"
            ) from problem
        _write_holder(descriptor, str(os.getpid()))
        return descriptor

    def _release(self, descriptor: int) -> None:
        # The file stays: removing it would let a waiting process lock a name that is gone.
        _write_holder(descriptor, "")
        _unlock(descriptor)
        os.close(descriptor)
        self._guard.release()

    def _refusal(self, holder: str) -> BundleLocked:
        who = f"process {holder}" if holder else "another process"
        return BundleLocked(
            f"{self.path.parent} is being written to by {who}; try again when it has finished"
        )


def _open(path: Path) -> int:
    """Open or make the lock's file; a FIFO, device or link in its place is refused."""
    if os.path.lexists(path):
        require_plain(os.lstat(path), path)
    no_wait = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | no_wait, 0o666)
    try:
        require_plain(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the text, which others must read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        # flock, not lockf: two Bundle objects in one process must exclude each other too.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _write_holder(descriptor: int, text: str) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text.encode())
    except OSError:
        return  # a full disk costs the name of the holder, not the lock


def _read_holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 20).decode("ascii", "replace")
    return text if text.isdigit() else ""
