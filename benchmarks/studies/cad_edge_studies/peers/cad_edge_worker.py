"""A worker that inspects with the runtime, as a device does.

    python -m cad_edge_studies.peers.cad_edge_worker BUNDLE FRAMES THREADS

It imports what a device imports and nothing else.
"""

import sys
from pathlib import Path

import numpy as np

from cad_edge_studies.peers.worker_loop import Answer, Frame, answer_turns, claim_output


def main(bundle: str, frames: str, threads: str) -> None:
    """Open the bundle and answer."""
    from cad_edge_runtime import Detector

    output = claim_output()
    detector = Detector.open(Path(bundle), device="cpu", threads=int(threads), watch=False)

    def inspect(frame: Frame, task: str | None) -> Answer:
        found = detector.detect(frame, task=task)
        return Answer(found.verdict, found.anomaly_map)

    answer_turns(np.load(frames, allow_pickle=False), [inspect], output)


if __name__ == "__main__":
    main(*sys.argv[1:])
