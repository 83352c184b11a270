"""Cores that this process may use, and how many threads can be asked for.

A container's share of the processor is a quota of its control group, which the count of cores does
not show: four threads on a quota of one core take turns and wait for each other.
"""

import _thread
import math
import operator
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import SupportsIndex, cast

from cad_edge.errors import DeviceError, OptionError
from cad_edge_runtime.arguments import brief

MOST_THREADS = 64
"""Of each graph; on more cores than these, as many as cores. 512 take seconds for every graph."""

_CONTROLLERS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


def available_cores(root: Path = Path("/")) -> int:
    """Count the cores that this process may use: by affinity, and by the quota of its container.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` lie.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(root)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many cores' time the control group may use, the smallest of those above it.

    Control groups of version 2 (``cpu.max``) and 1 (``cpu.cfs_quota_us``); None without a limit.
    """
    shares = [share for folder in _folders(root) for share in (_share(folder),) if share]
    return min(shares, default=None)


def require_threads(threads: object) -> int | None:
    """Return ``threads`` if so many can be asked for, or None; raise OptionError if not."""
    if threads is None:
        return None
    most = max(MOST_THREADS, available_cores())
    try:
        number = None if isinstance(threads, bool) else operator.index(cast(SupportsIndex, threads))
    except TypeError:
        number = None
    if number is None or not 1 <= number <= most:
        raise OptionError(
            f"threads={brief(threads)} is not allowed; give a whole number from 1 to {most}, or "
            "leave it out for as many as this process may use cores"
        )
    return number


def require_startable(threads: int) -> None:
    """Raise DeviceError unless this process can start the threads of one more graph now.

    ONNX Runtime, which starts the same, waits for ever where one of them cannot be started.
    """
    hold = _thread.allocate_lock()
    hold.acquire()
    gone = [_thread.allocate_lock() for _ in range(threads - 1)]

    def stand(done: _thread.LockType) -> None:
        with hold:
            pass
        done.release()

    started = []
    try:
        for done in gone:
            done.acquire()
            _thread.start_new_thread(stand, (done,))
            started.append(done)
    except (RuntimeError, MemoryError):
        raise DeviceError(
            f"{threads} threads for each graph cannot all be started here; use fewer threads, or "
            "raise the limits of this process on threads and memory"
        ) from None
    finally:
        hold.release()
        for done in started:
            done.acquire()


def _folders(root: Path) -> Iterator[Path]:
    """Folders of this process's control group and those above it, as far as they can be seen."""
    mount = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        tops = [mount / name for name in (controllers, *_CONTROLLERS)]
        # Beside version 1 the hierarchy of version 2 is mounted in a folder of its own.
        for top in tops if controllers else [mount, mount / "unified"]:
            # In a container the path may be the host's, of which only the mount itself is seen.
            inner = PurePosixPath(path.lstrip("/"))
            for part in (inner, *inner.parents):
                if ".." not in part.parts:
                    yield top / part


def _share(folder: Path) -> float | None:
    """Cores that the limit of one control group amounts to."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        except (OSError, ValueError):
            return None
    try:
        limit, every = int(quota), int(period)
    except ValueError:  # "max": no limit
        return None
    return limit / every if limit > 0 and every > 0 else None
