"""A device's process: open a bundle, give one verdict, say what that took.

    python -m cad_edge_benchmarks.instruments.probe BUNDLE IMAGE THREADS [DEVICE [DEPTH]]

prints ``verdict`` as soon as there is one and then one JSON object. It imports what a device
imports and nothing else.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.memory import Memory, memory_of, peak_rss

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
    tasks: int
    torch: bool
    """Whether torch was imported."""
    peak_rss: int
    """Largest resident size that the process has had, in bytes."""
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
    words = [str(bundle), str(image), str(threads), device]
    command = [sys.executable, "-m", _MODULE, *words, *([] if depth is None else [str(depth)])]
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - this interpreter with our own arguments
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        seconds = time.perf_counter() - started
        # Not communicate(): it would lose what came along with the first line.
        rest = process.stdout.read()
        errors = process.stderr.read()
    if process.returncode or not first:
        said_last = (errors.strip() or first or "nothing").splitlines()[-1]
        raise CadEdgeError(f"the device process failed: {said_last}")
    said = json.loads(rest)
    return Probe(seconds, **(said | {"memory": Memory(**said["memory"])}))


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


def main(
    bundle: str, image: str, threads: str, device: str = "cpu", depth: str | None = None
) -> None:
    """Be the device process."""
    from cad_edge.data.image import decode_image
    from cad_edge_runtime import Detector

    began = time.perf_counter()
    detector = Detector.open(Path(bundle), device=device, threads=int(threads))
    opened = time.perf_counter()
    frame = decode_image(Path(image))
    sys.stdout.write(f"{detector.detect(frame, depth=depth).verdict}\n")
    sys.stdout.flush()
    judged = time.perf_counter()
    names = list(detector.tasks())
    for name in names:
        detector.detect(frame, name, fitting_depth(detector, name, frame, depth))
    said = {
        "memory": asdict(memory_of()),
        "tasks": len(names),
        "torch": "torch" in sys.modules,
        "peak_rss": peak_rss(),
        "open_seconds": opened - began,
        "first_frame_seconds": judged - opened,
    }
    sys.stdout.write(json.dumps(said) + "\n")


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
