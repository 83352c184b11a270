"""Work in a process of its own, so that nothing of it weighs on what is measured.

`run` starts one and waits for its end. A `Worker` stays, and blocks on its standard input between
the requests that it is asked; its own side of the conversation is `worker_loop`.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.memory import Memory, memory_of, peak_rss

Argument: TypeAlias = str | Path | int


@dataclass(frozen=True)
class Launch:
    """How a Python process is started."""

    name: str
    """What an error calls it."""
    arguments: tuple[Argument, ...]
    """Of the interpreter, for example ``-m`` and a module."""
    place: Path | None = None
    """Working folder, made if it is not there; libraries leave their caches in it."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""
    python: Path = Path(sys.executable)

    def start(self, standard_input: int, errors: int) -> "subprocess.Popen[str]":
        """Start it; its input and its errors go where ``subprocess`` says, its output is kept."""
        if self.place is not None:
            self.place.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(  # noqa: S603 - an interpreter with our own arguments
            [self.python, *map(str, self.arguments)],
            stdin=standard_input,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=self.place,
            env={**os.environ, **self.variables},
        )

    def failed(self, errors: str, status: int) -> CadEdgeError:
        """Say that it failed, in the last line of its own ``errors`` or by its exit status."""
        lines = [line for line in errors.splitlines() if line.strip()]
        said = lines[-1].strip() if lines else f"it ended with {status}"
        return CadEdgeError(f"{self.name} failed: {said.removeprefix('Error: ')}")


def run(launch: Launch) -> str:
    """Run a process to its end and return what it printed.

    Raises
    ------
    CadEdgeError
        It failed; the sentence begins with its name and ends with its own last line.
    """
    process = launch.start(subprocess.DEVNULL, subprocess.PIPE)
    output, errors = process.communicate()
    if process.returncode:
        raise launch.failed(errors, process.returncode)
    return output


def run_python(what: str, *arguments: Argument) -> str:
    """Run this interpreter with ``arguments`` as `run` does; an error calls it ``what``."""
    return run(Launch(what, arguments))


class Worker:
    """A running process that answers requests."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        # A file and not a pipe, which would fill up and block a worker that warns a lot.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - see `close`
        self._process = launch.start(subprocess.PIPE, self._errors.fileno())

    def ask(self, request: object) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Give a request and wait for its answer.

        Raises
        ------
        CadEdgeError
            The worker ended instead; the message is the last line of its own.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self.answer()

    def answer(self) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Wait for an answer that needs no request; errors as of `ask`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def memory(self) -> Memory:
        """Memory of the process now."""
        return memory_of(str(self._process.pid))

    def peak(self) -> int:
        """Return the largest resident size that the process has had so far, in bytes."""
        return peak_rss(str(self._process.pid))

    def close(self) -> None:
        """Let the worker end and wait for it."""
        self._wait()
        self._errors.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ended(self) -> CadEdgeError:
        status = self._wait()
        self._errors.seek(0)
        return self._launch.failed(self._errors.read(), status)

    def _wait(self) -> int:
        # What a worker that died has not read is of no use, and its pipe may be closed already.
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
        return self._process.wait()
