"""Watching a bundle's pointer from a thread."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

_PERIOD = 0.03  # seconds between looks: a quarter of a core-millisecond per second
_RETRY = 1.0  # seconds before a version that could not be opened is tried again

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
    """

    def __init__(self, pointer: Path, seen: Signature | None, refresh: Callable[[], bool]) -> None:
        self._pointer = pointer
        self._seen = seen
        self._refresh = refresh
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cad-edge-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait for a refresh that is under way."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        waited, sound = 0.0, True
        while not self._stop.wait(_PERIOD):
            waited += _PERIOD
            found = signature_of(self._pointer)
            if found == self._seen and (sound or waited < _RETRY):
                continue
            self._seen, waited = found, 0.0
            sound = self._refresh()
