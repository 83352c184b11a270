"""A writer that is killed at every step; run as a script by test_bundle_faults.py.

    python bundle_faults.py WORK export|gc

WORK holds ``before``, a bundle, and ``next.json``: {"objects": [{name: text}], "manifest": {...}}.
For n = 1, 2, ... the bundle is copied to ``WORK/case-<n>-<moment>`` and a forked child, carrying
out the job on it, kills itself at its n-th system call that matters: right before it, right after
it, or, as a power cut would, before an fsync with the unsynced half of the file lost.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest

CALLS = ("open", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")


def arm(step: int, moment: str) -> None:
    """Make the ``step``-th call of this process its last."""
    count = 0

    def armed(call):
        def wrapper(*arguments, **options):
            nonlocal count
            count += 1
            if count == step and moment != "after":
                if moment == "torn" and call is originals["fsync"]:
                    tear(arguments[0])
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **options)
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapper

    originals = {name: getattr(os, name) for name in CALLS}
    for name, call in originals.items():
        setattr(os, name, armed(call))


def tear(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
    except OSError:
        return  # a folder


def work(bundle: Bundle, job: str, planned: dict) -> None:
    if job == "gc":
        bundle.collect_garbage(keep=1)
        return
    with bundle.lock():
        for files in planned["objects"]:
            bundle.add_object({name: text.encode() for name, text in files.items()})
        bundle.commit(Manifest.model_validate(planned["manifest"]))


def attempt(folder: Path, job: str, planned: dict, step: int, moment: str) -> bool:
    """Whether the job was killed."""
    child = os.fork()
    if child == 0:
        arm(step, moment)
        work(Bundle(folder), job, planned)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main() -> None:
    root, job = Path(sys.argv[1]), sys.argv[2]
    planned = json.loads((root / "next.json").read_text())
    for moment in ("before", "after", "torn"):
        step, killed = 0, True
        while killed:
            step += 1
            folder = root / f"case-{step}-{moment}"
            if (root / "before").exists():
                shutil.copytree(root / "before", folder)
            killed = attempt(folder, job, planned, step, moment)


if __name__ == "__main__":
    main()
