"""The parent's side: worker processes that wait until it is their turn."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.memory import Memory, memory_of, peak_rss


@dataclass(frozen=True)
class Launch:
    """How a worker is started."""

    name: str
    """What an error calls it."""
    command: tuple[str, ...]
    place: Path
    """Working folder; libraries leave their caches there."""
    variables: Mapping[str, str]
    """Added to the environment."""


@dataclass(frozen=True)
class Turn:
    """One request: numbers of frames, the task of each where it is given, and which model."""

    frames: tuple[int, ...]
    tasks: tuple[str | None, ...]
    model: int = 0


@dataclass(frozen=True)
class Inspected:
    """What a worker says of one frame."""

    ns: int
    """From the array to verdict and map, by the worker's own clock."""
    verdict: str
    map: tuple[int, int] | None
    """Size of the anomaly map, (height, width); None for a refused frame or without a map."""


class Worker:
    """A running worker; it blocks on its standard input between turns."""

    def __init__(self, launch: Launch) -> None:
        self._name = launch.name
        self._log = launch.place / f"{launch.name}.log"
        launch.place.mkdir(parents=True, exist_ok=True)
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules, our own arguments
                launch.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=launch.place,
                env={**os.environ, **launch.variables},
            )

    def ask(self, turn: Turn) -> list[Inspected]:
        """Give the worker a turn and wait for its answer.

        Raises
        ------
        CadEdgeError
            It ended instead; the message is the last line of its own.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"frames": turn.frames, "tasks": turn.tasks, "model": turn.model}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return [
            Inspected(one["ns"], one["verdict"], one["map"] and (one["map"][0], one["map"][1]))
            for one in json.loads(line)["inspected"]
        ]

    def memory(self) -> Memory:
        """Memory of the process now."""
        return memory_of(str(self._process.pid))

    def peak(self) -> int:
        """Return the largest resident size that the process has had so far, in bytes."""
        return peak_rss(str(self._process.pid))

    def close(self) -> None:
        """Let the worker end and wait for it."""
        # What a worker that died has not read is of no use, and its pipe may be closed already.
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

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
        self.close()
        return CadEdgeError(f"the worker {self._name} failed: {last_line(self._log.read_text())}")


def last_line(said: str) -> str:
    """Last line of ``said`` that is not empty, or that it said nothing."""
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def seconds_to_first_verdict(launch: Launch, turn: Turn) -> float:
    """Start a worker, give it one turn and end it; seconds from the start to the answer."""
    started = time.perf_counter()
    with Worker(launch) as worker:
        worker.ask(turn)
        return time.perf_counter() - started


def run_script(command: Sequence[str], place: Path, variables: Mapping[str, str]) -> str:
    """Run a script to its end in ``place`` and return what it printed.

    Raises
    ------
    CadEdgeError
        It failed; the message is the last line of its own.
    """
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(  # noqa: S603 - our own modules, our own arguments
        list(command),
        cwd=place,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        module = command[command.index("-m") + 1] if "-m" in command else command[0]
        raise CadEdgeError(f"{module} failed: {last_line(done.stderr)}")
    return done.stdout
