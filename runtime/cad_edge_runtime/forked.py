"""What becomes of sessions and detectors in a child of the process that opened them.

A fork copies memory, but not threads: a session of several threads waits in the child for those
that are not there, when it runs and when it is deleted; a lock that another thread held is never
released. So nothing of the parent's is run or deleted in a child, and whoever asks is told so at
once.
"""

import ctypes
import os
import weakref
from typing import Protocol

from cad_edge.errors import BundleError


class Inherited(Protocol):
    """What must know that it is in a child now."""

    def lose_threads(self) -> None:
        """Take no lock, wait for no thread, and answer with `opened_elsewhere` from now on."""


_KNOWN: "weakref.WeakSet[Inherited]" = weakref.WeakSet()


def tell_in_child(thing: Inherited) -> None:
    """Call ``thing.lose_threads`` in every child that is forked while it lives."""
    _KNOWN.add(thing)


def never_delete(thing: object) -> None:
    """Keep ``thing`` to the end of the process, which deletes all that is still referred to."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def opened_elsewhere(what: str) -> BundleError:
    """Return the error of something that another process opened."""
    return BundleError(
        f"{what} was opened in another process, and threads do not survive a fork; open it in this "
        "process, or start processes by 'spawn' in place of 'fork'"
    )


def _after_fork() -> None:
    known = list(_KNOWN)
    _KNOWN.clear()
    for thing in known:
        thing.lose_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
