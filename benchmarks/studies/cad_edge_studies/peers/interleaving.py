"""Turns between processes: every subject inspects two frames, rests, and the next one goes on.

The first frame of a turn comes after a rest, in which caches and cores went to others; the second
follows at once. They are kept apart: a line that inspects a part now and then sees the first kind,
a busy one the second. The rest lets threads that wait by spinning go to sleep, so that nobody pays
for who was before.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.interleaved_timing import WARM_UP_ROUNDS, Nanoseconds
from cad_edge_studies.peers.workers import Inspected, Turn, Worker

REST_SECONDS = 0.005
FRAMES_OF_A_TURN = 2
REFUSED = "unknown_product"
"""Verdict of a frame that is not inspected, and hence cheaper than one that is."""


@dataclass(frozen=True)
class Subject:
    """Who inspects, and what it is told."""

    worker: Worker
    tasks: Sequence[str | None]
    """Task of every frame where it is given, else None; as many as there are frames."""

    def turn(self, number: int) -> Turn:
        """Return the frames of turn ``number``; they go round."""
        count = len(self.tasks)
        first = number * FRAMES_OF_A_TURN
        frames = tuple((first + step) % count for step in range(FRAMES_OF_A_TURN))
        return Turn(frames, tuple(self.tasks[frame] for frame in frames))


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


def take_turns_between(
    subjects: Mapping[str, Subject],
    rounds: int,
    rest: float = REST_SECONDS,
    warm_up: int = WARM_UP_ROUNDS,
) -> dict[str, Times]:
    """Run one turn of every subject per round, in order: A B C A B C ...

    Parameters
    ----------
    subjects
        Who takes part, by name; several may share a worker.
    rounds
        Rounds that count.
    rest
        Seconds in which everybody waits before each turn.
    warm_up
        Rounds that come before them and do not count.

    Raises
    ------
    CadEdgeError
        A worker failed, refused every frame, or gave maps of several sizes.
    """
    answers: dict[str, list[list[Inspected]]] = {name: [] for name in subjects}
    for number in range(warm_up + rounds):
        for name, subject in subjects.items():
            time.sleep(rest)
            found = subject.worker.ask(subject.turn(number))
            if number >= warm_up:
                answers[name].append(found)
    return {name: _times(name, found) for name, found in answers.items()}


def _times(name: str, answers: list[list[Inspected]]) -> Times:
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
