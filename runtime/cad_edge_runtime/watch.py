"""Watching a bundle's pointer from a thread."""

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from cad_edge.errors import DeviceError

_PERIOD = 0.03  # seconds between looks: a quarter of a core-millisecond per second
_RETRY = 1.0  # seconds before a version that could not be opened is tried again
_LONGEST_END = 5.0  # seconds that the end of a program waits for a refresh

Signature = tuple[int, int, int]


def signature_of(pointer: Path) -> Signature | None:
    """Return what changes when the pointer is replaced; None while it is not there."""
    try:
        found = os.stat(pointer)  # noqa: PTH116 - called thirty times a second
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class Watcher:
    """Calls ``refresh`` in a thread soon after a pointer file was replaced.

    ``refresh`` returns whether the version in force is open now. Where it is not, for example
    because a copy brought the pointer before the objects, it is called again every second.

    The thread ends when the object whose method ``refresh`` is has gone, which it does not keep
    from going, and before the interpreter takes away what it works with.
    """

    def __init__(self, pointer: Path, seen: Signature | None, refresh: Callable[[], bool]) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=_watch,
            args=(pointer, seen, weakref.WeakMethod(refresh), self._stop),
            name="cad-edge-watch",
            daemon=True,
        )
        try:
            self._thread.start()
        except RuntimeError:
            raise DeviceError(
                "no thread can be started to watch the bundle; raise this process's limit on "
                "threads, or use watch=False"
            ) from None
        _WATCHING.add(self)

    def close(self, seconds: float | None = None) -> None:
        """Stop, and wait for a refresh that is under way, no longer than ``seconds``."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def lose_threads(self) -> None:
        """Forget a thread that this process does not have, and its lock, which it may hold."""
        _WATCHING.discard(self)
        self._stop, self._thread = threading.Event(), threading.current_thread()


_WATCHING: "weakref.WeakSet[Watcher]" = weakref.WeakSet()


def _watch(
    pointer: Path,
    seen: Signature | None,
    refresh: "weakref.WeakMethod[Callable[[], bool]]",
    stop: threading.Event,
) -> None:
    waited, sound = 0.0, True
    while not stop.wait(_PERIOD):
        waited += _PERIOD
        found = signature_of(pointer)
        call = refresh()
        if call is None:
            return
        if found != seen or (not sound and waited >= _RETRY):
            seen, waited = found, 0.0
            sound = call()
        del call  # while this thread waits it must not be what keeps the detector


def _stop_watching() -> None:
    # A thread that the interpreter's end meets within ONNX Runtime can take the process down.
    for watcher in list(_WATCHING):
        watcher.close(_LONGEST_END)


atexit.register(_stop_watching)
