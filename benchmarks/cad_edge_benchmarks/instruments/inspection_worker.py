"""A worker's side of an inspection; that of cad-edge is started by this module itself.

    python -m cad_edge_benchmarks.instruments.inspection_worker BUNDLE FRAMES THREADS

A request is ``{"frames": [3, 4], "tasks": ["nut", null], "model": 0}``; the answer has nanoseconds,
verdict and map size of every frame. The module is imported in both environments and holds to NumPy;
started, it imports what a device imports and nothing else.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

from cad_edge_benchmarks.instruments.worker_loop import answer_requests, claim_output

Frame = npt.NDArray[np.uint8]


class Answer(NamedTuple):
    """What an inspection came to."""

    verdict: str
    """``normal``, ``anomalous`` or ``unknown_product``."""
    anomaly_map: npt.NDArray[np.float32] | None
    """(height, width) float32; None for a refused frame, or where nothing is located."""


Inspect = Callable[[Frame, str | None], Answer]
"""From (height, width, 3) uint8 RGB and the task, if it is given, to an answer."""


def answer_inspections(frames: str, models: Sequence[Inspect], output: TextIO) -> None:
    """Answer until standard input closes.

    Parameters
    ----------
    frames
        File of (n, height, width, 3) uint8, in memory before the first clock starts.
    models
        What can be asked, by number.
    output
        From `claim_output`.
    """
    shown = np.load(frames, allow_pickle=False)

    def inspect(request: Mapping[str, Any]) -> list[dict[str, object]]:
        pairs = zip(request["frames"], request["tasks"], strict=True)
        return [_timed(models[request["model"]], shown[number], task) for number, task in pairs]

    answer_requests(inspect, output)


def _timed(inspect: Inspect, frame: Frame, task: str | None) -> dict[str, object]:
    """Time one frame from array to verdict and map."""
    before = time.perf_counter_ns()
    answer = inspect(frame, task)
    taken = time.perf_counter_ns() - before
    size = None if answer.anomaly_map is None else answer.anomaly_map.shape
    return {"ns": taken, "verdict": answer.verdict, "map": size}


def main(bundle: str, frames: str, threads: str) -> None:
    """Open the bundle and answer."""
    from cad_edge_runtime import Detector

    output = claim_output()
    detector = Detector.open(Path(bundle), device="cpu", threads=int(threads), watch=False)

    def inspect(frame: Frame, task: str | None) -> Answer:
        found = detector.detect(frame, task=task)
        return Answer(found.verdict, found.anomaly_map)

    answer_inspections(frames, [inspect], output)


if __name__ == "__main__":
    main(*sys.argv[1:])
