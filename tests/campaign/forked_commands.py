"""The command line in a process that has imported everything, forked for every command.

    python forked_commands.py FOLDER

For a line {"arguments": [...], "seconds": S or null} on stdin a child runs `cad-edge` with them and
is killed after S seconds, and a line goes to stdout: {"status": exit status, or minus the signal,
"seconds": how long it ran, "writes": [seconds at which it opened a file for writing, renamed or
removed one]}. What the command prints goes to FOLDER/output.txt. Importing torch takes longer than
most commands; so the moments at which a command is killed lie where it works.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

WRITERS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync")


def run(arguments: list[str], folder: Path, start: float) -> None:
    """Run a command in this process, which it ends; leave what it imported and when it wrote."""
    writes: list[float] = []

    def watched(call):
        def wrapper(*given, **options):
            writes.append(time.monotonic() - start)
            return call(*given, **options)

        return wrapper

    for name in WRITERS:
        setattr(os, name, watched(getattr(os, name)))
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    status = 1
    try:
        from cad_edge.cli import main

        main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        said = {"modules": sorted(sys.modules), "writes": writes}
        # Renamed, since the kill may come while it is written.
        (folder / "saying.json").write_text(json.dumps(said))
        (folder / "saying.json").rename(folder / "said.json")
        os._exit(status)


def attempt(arguments: list[str], seconds: float | None, folder: Path) -> dict[str, object]:
    """Fork, wait or kill, and say what became of the child."""
    (folder / "said.json").unlink(missing_ok=True)
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        run(arguments, folder, start)
    if seconds is not None:
        ended = 0
        while not ended and time.monotonic() - start < seconds:
            time.sleep(0.0005)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
    else:
        _, status = os.waitpid(child, 0)
    taken = time.monotonic() - start
    said = folder / "said.json"
    found = json.loads(said.read_text()) if said.exists() else {"modules": [], "writes": []}
    for name in found["modules"]:
        if name.partition(".")[0] not in ("__main__", "antigravity", "this"):
            import_it(name)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": taken,
        "writes": found["writes"],
    }


def import_it(name: str) -> None:
    if name in sys.modules:
        return
    try:
        importlib.import_module(name)
    except Exception:  # what a module of another package does when it is imported alone
        sys.modules.pop(name, None)


def main() -> None:
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(attempt(asked["arguments"], asked["seconds"], folder)), flush=True)


if __name__ == "__main__":
    main()
