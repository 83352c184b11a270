"""What can stand in the place of a file, and the time in which it must be refused."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)  # the name of a socket has at most 107 bytes
        made.bind(path.name)
        os.chdir(here)


def zeros(path: Path) -> None:
    """A link to a device that gives bytes without end."""
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def link_to_a_fifo(path: Path) -> None:
    os.mkfifo(f"{path}.fifo")
    path.symlink_to(f"{path}.fifo")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


NOT_FILES = {
    "a FIFO": fifo,
    "a socket": a_socket,
    "a folder": folder,
    "a symbolic link to a device": zeros,
    "a symbolic link to a FIFO": link_to_a_fifo,
    "a symbolic link to nothing": dangling,
}


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """End a block that waits for ever; a machine that others slow down is given a minute."""

    def late(number: int, frame: object) -> None:
        # No OSError, which what is tested would take for one of the file.
        raise AssertionError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
