"""The device's process: inspects every test window where torch cannot be imported.

    inspect(bundle, stream, unknown, out)

starts an interpreter in which ``import torch`` fails, and that interpreter runs `main`. Accuracy is
judged by `cad_edge_benchmarks.instruments.evaluation`, as `cad-edge evaluate` does; a recorder
between it and the detector keeps every detection for the report.
"""

import subprocess
import sys
import time
from pathlib import Path

import click

from cad_edge.data.image import Frame, decode_image
from cad_edge.data.image_formats import SUFFIXES
from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import read_stream
from cad_edge.errors import CadEdgeError, DatasetError
from cad_edge_benchmarks.demo.inspections import (
    Inspected,
    Inspections,
    Maps,
    inspected,
    write_inspections,
)
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation, evaluate_task
from cad_edge_runtime import Detection, Detector

# Blocked before anything of ours is imported: from then on `import torch` raises ImportError.
_ENTRY = """
import sys
sys.modules["torch"] = None
from cad_edge_benchmarks.demo.device import main
main(*sys.argv[1:])
"""

_WARM_UP = 5  # frames of each product before the clock counts


def inspect(bundle: Path, stream: Path, unknown: Path, out: Path) -> None:
    """Inspect the test images of ``stream`` and all images of ``unknown``, results into ``out``.

    Raises
    ------
    CadEdgeError
        The process failed; the message is its own last line.
    """
    words = [str(path) for path in (bundle, stream, unknown, out)]
    done = subprocess.run(  # noqa: S603 - this interpreter with our own arguments
        [sys.executable, "-c", _ENTRY, *words], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise CadEdgeError(f"the device process failed: {said[-1]}")


class Recorder:
    """A detector that keeps what it said, beside the frames' true labels."""

    def __init__(self, detector: Detector) -> None:
        self.frames: list[Inspected] = []
        self.maps: Maps = {}
        self._detector = detector

    def inspect(self, frame: Frame | list[Frame], product: str, item: LabelledImage) -> Detection:
        """Detect, time and keep one frame."""
        began = time.perf_counter()
        found = self._detector.detect(frame)
        seconds = time.perf_counter() - began
        if found.anomaly_map is not None:
            self.maps[len(self.frames)] = found.anomaly_map
        self.frames.append(inspected(found, item.path, product, item.defect, item.mask, seconds))
        return found

    def evaluate(self, product: str, items: tuple[LabelledImage, ...]) -> TaskEvaluation:
        """Judge the test images of a product as `cad-edge evaluate` does."""
        tasks = self._detector.manifest.tasks
        calibrations = {name: entry.calibration for name, entry in tasks.items()}
        with click.progressbar(items, label=f"  inspecting {product:8}", show_eta=False) as shown:
            waiting = iter(items)
            return evaluate_task(
                # `evaluate_task` hands over one frame per item and in their order.
                lambda frame, _: self.inspect(frame, product, next(waiting)),
                product,
                shown,
                calibrations,
                tasks[product].decision.false_reject_rate,
            )


def main(bundle: str, stream_file: str, unknown: str, out: str) -> None:
    """Be the device's process."""
    stream = read_stream(Path(stream_file))
    strangers = _images(Path(unknown))
    tests = {task.name: task.images().test for task in stream.tasks}
    with Detector.open(Path(bundle), watch=False) as detector:
        for items in tests.values():
            for item in items[:_WARM_UP]:
                detector.detect(decode_image(item.path))
        recorder = Recorder(detector)
        evaluations = {name: recorder.evaluate(name, items) for name, items in tests.items()}
        for item in strangers:
            recorder.inspect(decode_image(item.path), Path(unknown).name, item)
    inspections = Inspections(
        frames=recorder.frames,
        evaluations=evaluations,
        torch_loaded=sys.modules.get("torch") is not None,
    )
    write_inspections(Path(out), inspections, recorder.maps)


def _images(folder: Path) -> tuple[LabelledImage, ...]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DatasetError(f"{folder} holds no images of an unknown product; run the demo again")
    return tuple(LabelledImage(path) for path in found)
