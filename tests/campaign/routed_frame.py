"""A routed frame of these sources beside that of older ones, in turns of one run.

    python -m tests.campaign.routed_frame BEFORE BUNDLE FRAMES.npy [ROUNDS]

BEFORE is a checkout of the sources to compare with, BUNDLE one that both open, FRAMES.npy
(n, height, width, 3) uint8. Each side is a process of its own; a third one, of these sources again,
says how far two equal sides lie apart. Prints JSON: ratios round by round.
"""

import json
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from cad_edge_benchmarks.instruments.inspection_turns import (
    Subject,
    detector_launch,
    take_turns_between,
)
from cad_edge_benchmarks.instruments.interleaved_timing import ratio_of
from cad_edge_benchmarks.instruments.subprocess_worker import Launch, Worker

HERE = Path(__file__).resolve().parents[2]
WINGS = ("", "training", "export", "runtime", "benchmarks")


def compare(before: Path, bundle: Path, frames: Path, rounds: int) -> dict[str, object]:
    """Time both sides; ratios are of the frame that follows another at once."""
    count = len(np.load(frames, mmap_mode="r"))
    sources = {"before": before, "after": HERE, "after again": HERE}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subjects = {
            name: Subject(
                stack.enter_context(Worker(_launch(tree, bundle, frames, place))), [None] * count
            )
            for name, tree in sources.items()
        }
        times = take_turns_between(subjects, rounds)
    base = times["before"]
    found = {
        name: {
            "following": asdict(ratio_of(one.following, base.following)),
            "rested": asdict(ratio_of(one.rested, base.rested)),
            "verdicts": one.verdicts,
        }
        for name, one in times.items()
    }
    medians = {name: float(np.median(one.following)) / 1e6 for name, one in times.items()}
    return {"rounds": rounds, "median_ms": medians, "ratios": found, "machine": platform.machine()}


def _launch(tree: Path, bundle: Path, frames: Path, place: Path) -> Launch:
    launch = detector_launch(bundle.absolute(), frames.absolute(), 2, place)
    path = os.pathsep.join(str(tree.absolute() / wing) for wing in WINGS)
    return Launch(str(tree), launch.arguments, place, {**launch.variables, "PYTHONPATH": path})


if __name__ == "__main__":
    tree, opened, shown, *more = sys.argv[1:]
    done = compare(Path(tree), Path(opened), Path(shown), int(more[0]) if more else 1000)
    print(json.dumps(done, indent=1))
