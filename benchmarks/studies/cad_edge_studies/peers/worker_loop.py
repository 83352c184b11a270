"""A worker's side of the conversation: answer turns on standard input until it closes.

A line from the parent is ``{"frames": [3, 4], "tasks": ["nut", null], "model": 0}``; the answer is
one line with the nanoseconds, verdict and map size of every frame. The module is imported in both
environments, so it holds to the standard library and NumPy.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]


class Answer(NamedTuple):
    """What an inspection came to."""

    verdict: str
    """``normal``, ``anomalous`` or ``unknown_product``."""
    anomaly_map: npt.NDArray[np.float32] | None
    """(height, width) float32; None for a refused frame, or where nothing is located."""


Inspect = Callable[[Frame, str | None], Answer]
"""From (height, width, 3) uint8 RGB and the task, if it is given, to an answer."""


def claim_output() -> TextIO:
    """Keep standard output for answers; what libraries print there goes to standard error."""
    kept = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return os.fdopen(kept, "w", encoding="utf-8")


def answer_turns(frames: npt.NDArray[np.uint8], models: Sequence[Inspect], output: TextIO) -> None:
    """Answer until standard input closes.

    Parameters
    ----------
    frames
        (n, height, width, 3) uint8, in memory before the first clock starts.
    models
        What can be asked, by number.
    output
        From `claim_output`.
    """
    for line in sys.stdin:
        turn = json.loads(line)
        inspect = models[turn["model"]]
        said = [
            _timed(inspect, frames[number], task)
            for number, task in zip(turn["frames"], turn["tasks"], strict=True)
        ]
        output.write(json.dumps({"inspected": said}) + "\n")
        output.flush()


def _timed(inspect: Inspect, frame: Frame, task: str | None) -> dict[str, object]:
    """Time one frame from array to verdict and map."""
    before = time.perf_counter_ns()
    answer = inspect(frame, task)
    taken = time.perf_counter_ns() - before
    size = None if answer.anomaly_map is None else list(answer.anomaly_map.shape)
    return {"ns": taken, "verdict": answer.verdict, "map": size}
