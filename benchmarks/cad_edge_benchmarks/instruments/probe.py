"""A device's process: open a bundle, give one verdict, judge the frame with every task, and wait.

    python -m cad_edge_benchmarks.instruments.probe BUNDLE THREADS DEVICE IMAGE [DEPTH]

prints the verdict as soon as there is one and then what the process came to, both as JSON. It
imports what a device imports and nothing else.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cad_edge_benchmarks.instruments.memory import Memory
from cad_edge_benchmarks.instruments.subprocess_worker import Launch, Worker
from cad_edge_benchmarks.instruments.worker_loop import claim_output, write_answer

if TYPE_CHECKING:
    from cad_edge.data.depth import Plane
    from cad_edge.data.image import Frame
    from cad_edge_runtime import Detector

_MODULE = "cad_edge_benchmarks.instruments.probe"


@dataclass(frozen=True)
class Probe:
    """What one device process came to."""

    seconds: float
    """From before the process was started to its first verdict, seen from outside."""
    memory: Memory
    """After one frame has been judged with every task given."""
    peak_rss: int
    """Largest resident size that the process has had, in bytes."""
    tasks: int
    torch: bool
    """Whether torch was imported."""
    open_seconds: float
    """Of `seconds`: opening the bundle."""
    first_frame_seconds: float
    """Of `seconds`: decoding the image and the first verdict."""


def probe(
    bundle: Path, image: Path, threads: int, device: str = "cpu", depth: Path | None = None
) -> Probe:
    """Start a device process on ``bundle``, ``image`` and its ``depth`` and wait for it.

    Raises
    ------
    CadEdgeError
        The process failed.
    """
    shown = (image,) if depth is None else (image, depth)
    launch = Launch("the device process", ("-m", _MODULE, bundle, threads, device, *shown))
    started = time.perf_counter()
    with Worker(launch) as process:
        process.answer()
        seconds = time.perf_counter() - started
        rest = process.answer()
        return Probe(seconds, process.memory(), peak_rss=process.peak(), **rest)


def probe_often(
    bundle: Path,
    image: Path,
    threads: int,
    count: int,
    device: str = "cpu",
    depth: Path | None = None,
) -> list[Probe]:
    """Start ``count`` device processes, one after another.

    One more goes before them and does not count: the first after a change of the sources compiles
    them, which takes memory and time that no device spends.
    """
    return [probe(bundle, image, threads, device, depth) for _ in range(count + 1)][1:]


def main(bundle: str, threads: str, device: str, image: str, depth: str | None = None) -> None:
    """Be the device process."""
    from cad_edge.data.image import decode_image
    from cad_edge_runtime import Detector

    output = claim_output()
    began = time.perf_counter()
    detector = Detector.open(Path(bundle), device=device, threads=int(threads))
    opened = time.perf_counter()
    frame = decode_image(Path(image))
    write_answer(detector.detect(frame, depth=depth).verdict, output)
    judged = time.perf_counter()
    names = list(detector.tasks())
    for name in names:
        detector.detect(frame, name, fitting_depth(detector, name, frame, depth))
    rest = {
        "tasks": len(names),
        "torch": "torch" in sys.modules,
        "open_seconds": opened - began,
        "first_frame_seconds": judged - opened,
    }
    write_answer(rest, output)
    sys.stdin.read()  # who started it looks at its memory now, and then closes this


def fitting_depth(
    detector: "Detector", name: str, frame: "Frame", depth: str | None = None
) -> "Plane | str | None":
    """Depth that a task accepts: that of the frame may be of another product, or missing."""
    import numpy as np

    found = detector.manifest.tasks[name].depth
    if found is None:
        return depth
    return np.full(frame.shape[:2], (found.low + found.high) / 2, dtype=np.float32)


if __name__ == "__main__":
    main(*sys.argv[1:])
