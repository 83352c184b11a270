"""Turns between processes: every subject inspects two frames, rests, and the next one goes on.

The first frame of a turn comes after a rest, in which caches and cores went to others; the second
follows at once. They are kept apart: a line that inspects a part now and then sees the first kind,
a busy one the second. The rest lets threads that wait by spinning go to sleep, so that nobody pays
for who was before.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.interleaved_timing import (
    WARM_UP_ROUNDS,
    Nanoseconds,
    in_rounds,
    latency_of,
)
from cad_edge_benchmarks.instruments.subprocess_worker import Launch, Worker

REST_SECONDS = 0.005
FRAMES_OF_A_TURN = 2
REFUSED = "unknown_product"
"""Verdict of a frame that is not inspected, and hence cheaper than one that is."""


def detector_launch(bundle: Path, frames: Path, threads: int, place: Path) -> Launch:
    """Describe a worker with the runtime on ``bundle`` and the file ``frames``."""
    module = "cad_edge_benchmarks.instruments.inspection_worker"
    variables = {"OMP_NUM_THREADS": str(threads)}
    return Launch(bundle.name, ("-m", module, bundle, frames, threads), place, variables)


@dataclass(frozen=True)
class Inspected:
    """What a worker says of one frame."""

    ns: int
    """From the array to verdict and map, by the worker's own clock."""
    verdict: str
    map: tuple[int, int] | None
    """Size of the anomaly map, (height, width); None for a refused frame or without a map."""


def inspect(
    worker: Worker, frames: Sequence[int], tasks: Sequence[str | None] = (None,), model: int = 0
) -> list[Inspected]:
    """Have a worker inspect ``frames`` by number, each with its task where it is given."""
    answers = worker.ask({"frames": frames, "tasks": tasks, "model": model})
    return [
        Inspected(one["ns"], one["verdict"], one["map"] and tuple(one["map"])) for one in answers
    ]


class Subject:
    """A worker that takes turns; ``tasks`` has that of every frame, None where it is not given."""

    def __init__(
        self, worker: Worker, tasks: Sequence[str | None], rest: float = REST_SECONDS
    ) -> None:
        self.worker = worker
        self._rest = rest
        self._coming = itertools.cycle(enumerate(tasks))

    def turn(self) -> list[Inspected]:
        """Rest, then inspect the next frames; they go round."""
        time.sleep(REST_SECONDS)
        frames, tasks = zip(*itertools.islice(self._coming, FRAMES_OF_A_TURN), strict=True)
        return inspect(self.worker, frames, tasks)


@dataclass(frozen=True, eq=False)
class Times:
    """Times of one subject, in nanoseconds."""

    rested: Nanoseconds
    """(rounds,) int64: the first frame of each turn."""
    following: Nanoseconds
    """(rounds,) int64: the frame right after it."""
    verdicts: Mapping[str, int]
    """Of all frames that count."""
    map: tuple[int, int] | None
    """Size of its anomaly maps, (height, width); None where it locates nothing."""

    def latencies(self) -> dict[str, object]:
        """Describe both kinds of frames for a result."""
        return {
            "rested": asdict(latency_of(self.rested)),
            "following": asdict(latency_of(self.following)),
        }


def take_turns_between(
    subjects: Mapping[str, Subject], rounds: int, warm_up: int = WARM_UP_ROUNDS
) -> dict[str, Times]:
    """Run one turn of every subject per round, in order; several may share a worker.

    ``warm_up`` rounds come before the ``rounds`` that count.

    Raises
    ------
    CadEdgeError
        A worker failed, refused every frame, or gave maps of several sizes.
    """
    turns = {name: subject.turn for name, subject in subjects.items()}
    found = in_rounds(turns, rounds, warm_up, warm_up_seconds=0.0)
    return {name: _times(name, answers) for name, answers in found.items()}


def _times(name: str, answers: Sequence[Sequence[Inspected]]) -> Times:
    nanoseconds = np.array([[one.ns for one in turn] for turn in answers], dtype=np.int64)
    frames = [one for turn in answers for one in turn]
    sizes = {one.map for one in frames if one.verdict != REFUSED}
    if len(sizes) != 1:
        raise CadEdgeError(f"{name} gave maps of {len(sizes)} sizes; look at its frames")
    verdicts = [one.verdict for one in frames]
    return Times(
        rested=nanoseconds[:, 0],
        following=nanoseconds[:, 1],
        verdicts={verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        map=sizes.pop(),
    )
