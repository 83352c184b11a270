"""A device's process that opens bundles with depth and judges a frame with every task of theirs.

    python -m cad_edge_studies.rgbd_comparison.device_process THREADS BUNDLE...

prints the resident memory in bytes before and after as JSON. It imports what a device imports.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cad_edge_benchmarks.instruments.memory import memory_of
from cad_edge_benchmarks.instruments.probe import fitting_depth
from cad_edge_benchmarks.instruments.subprocess_worker import run_python
from cad_edge_runtime import Detector

_MODULE = "cad_edge_studies.rgbd_comparison.device_process"


def growth(bundles: Sequence[Path], threads: int) -> tuple[int, int]:
    """Resident bytes of a process of its own that has opened ``bundles``.

    Returns
    -------
    grown, whole
        By how much it grew from when its modules were loaded, and all of it.

    Raises
    ------
    CadEdgeError
        The process failed.
    """
    said = run_python("the device process", "-m", _MODULE, str(threads), *bundles)
    before, after = json.loads(said)
    return after - before, after


def main(threads: str, *bundles: str) -> None:
    """Be the device process."""
    import onnxruntime  # noqa: F401 - loaded before memory is looked at

    before = memory_of().rss
    opened = []
    for bundle in bundles:
        detector = Detector.open(Path(bundle), device="cpu", threads=int(threads), watch=False)
        opened.append(detector)
        for name, task in detector.manifest.tasks.items():
            recipe = task.engine.recipe
            image = np.zeros((recipe.height, recipe.width, 3), np.uint8)
            detector.detect(image, name, fitting_depth(detector, name, image))
    sys.stdout.write(json.dumps([before, memory_of().rss]))


if __name__ == "__main__":
    main(*sys.argv[1:])
