"""Work in a process of its own, so that nothing of it weighs on what is measured."""

import subprocess
import sys
from pathlib import Path

from cad_edge.errors import CadEdgeError


def run_python(what: str, *arguments: str | Path) -> str:
    """Run this interpreter with ``arguments`` and return what it printed.

    Raises
    ------
    CadEdgeError
        It failed; the sentence begins with ``what`` and ends with its own last line.
    """
    done = subprocess.run(  # noqa: S603 - this interpreter with our own arguments
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise CadEdgeError(f"{what} failed: {said[-1].removeprefix('Error: ')}")
    return done.stdout
