"""The device's process: inspects every test window where torch cannot be imported.

    inspect(bundle, stream, unknown, out)

starts an interpreter in which ``import torch`` fails, and that interpreter runs `main`. Accuracy is
judged by `cad_edge_benchmarks.instruments.evaluation`, as `cad-edge evaluate` does; a recorder
between it and the detector keeps every detection, in files that the report reads.
"""

import subprocess
import sys
import time
from dataclasses import dataclass, field, fields
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from cad_edge.data.folder import images_in
from cad_edge.data.image import Frame, decode_image
from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import read_stream
from cad_edge.errors import CadEdgeError, DatasetError
from cad_edge.schema import Record, parse_json
from cad_edge_benchmarks.instruments.bundle_contents import calibrations_of
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation, evaluate_task
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN
from cad_edge_runtime import Detection, Detector

# Blocked before anything of ours is imported: from then on `import torch` raises ImportError.
_ENTRY = """
import sys
sys.modules["torch"] = None
from cad_edge_benchmarks.demo.device import main
main(*sys.argv[1:])
"""

_WARM_UP = 5  # frames of each product before the clock counts

STAGES = ("prepare", "select", "detect", "post")
"""Fields of `cad_edge_runtime.detection.Timings`."""


@dataclass(frozen=True)
class Maps:
    """Maps (h, w) float32 of the frames that have one, by the frame's number."""

    anomaly: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    level: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    """Of the level that the score rests on."""


class DemoInspection(Record):
    """One frame, what is true of it and what was found."""

    path: Path
    product: str
    defect: str | None
    mask: Path | None
    size: tuple[int, int]
    """(height, width) of the frame."""

    task: str | None
    nearest: str | None
    verdict: str
    calibrated_score: float | None
    p_value: float | None
    level: str | None = None
    level_share: float | None = None
    boxes: list[tuple[int, int, int, int]]
    """left, top, right, bottom of each defect, the worst first."""

    seconds: float
    """From the decoded frame to the detection, seen from outside."""

    stages: dict[str, float]
    """Seconds of each of `STAGES`."""

    @property
    def rejected(self) -> bool:
        """Whether a line takes the part out: any verdict but normal."""
        return self.verdict != "normal"

    @property
    def recognised_as(self) -> str:
        """Product that the frame was taken for, or ``unknown_product``."""
        return self.task or UNKNOWN


class Inspections(Record):
    """Everything that the device process found."""

    frames: list[DemoInspection]
    evaluations: dict[str, TaskEvaluation]
    """As `cad-edge evaluate` gives it, by product."""

    torch_loaded: bool
    """Whether torch was in memory after the last frame."""


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
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise CadEdgeError(f"the device process failed: {lines[-1]}")


class Recorder:
    """A detector that keeps what it found, beside the frames' true labels."""

    def __init__(self, detector: Detector) -> None:
        self.frames: list[DemoInspection] = []
        self.maps = Maps()
        self._detector = detector

    def inspect(self, frame: Frame | list[Frame], product: str, item: LabelledImage) -> Detection:
        """Detect, time and keep one frame."""
        began = time.perf_counter()
        found = self._detector.detect(frame)
        seconds = time.perf_counter() - began
        if found.anomaly_map is not None:
            self.maps.anomaly[len(self.frames)] = found.anomaly_map
        if found.level is not None and found.level_maps is not None:
            self.maps.level[len(self.frames)] = found.level_maps[found.level]
        self.frames.append(
            DemoInspection(
                path=item.path,
                product=product,
                defect=item.defect,
                mask=item.mask,
                size=found.size,
                task=found.task,
                nearest=found.nearest,
                verdict=found.verdict,
                calibrated_score=found.calibrated_score,
                p_value=found.p_value,
                level=found.level,
                level_share=found.level_share,
                boxes=[defect.box for defect in found.defects],
                seconds=seconds,
                stages={stage: float(getattr(found.timings, stage)) for stage in STAGES},
            )
        )
        return found

    def evaluate(self, product: str, items: tuple[LabelledImage, ...]) -> TaskEvaluation:
        """Judge the test images of a product as `cad-edge evaluate` does."""
        manifest = self._detector.manifest
        with click.progressbar(items, label=f"  inspecting {product:8}", show_eta=False) as shown:
            waiting = iter(items)
            return evaluate_task(
                # `evaluate_task` hands over one frame per item and in their order.
                lambda frame, _: self.inspect(frame, product, next(waiting)),
                product,
                shown,
                calibrations_of(manifest),
                manifest.tasks[product].decision.false_reject_rate,
            )


def main(bundle: str, stream_file: str, unknown: str, out: str) -> None:
    """Be the device's process."""
    stream = read_stream(Path(stream_file))
    never_learned = _images(Path(unknown))
    tests = {task.name: task.images().test for task in stream.tasks}
    with Detector.open(Path(bundle), watch=False) as detector:
        for items in tests.values():
            for item in items[:_WARM_UP]:
                detector.detect(decode_image(item.path))
        recorder = Recorder(detector)
        evaluations = {name: recorder.evaluate(name, items) for name, items in tests.items()}
        for item in never_learned:
            recorder.inspect(decode_image(item.path), Path(unknown).name, item)
    inspections = Inspections(
        frames=recorder.frames,
        evaluations=evaluations,
        torch_loaded=sys.modules.get("torch") is not None,
    )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inspections.json").write_text(inspections.model_dump_json(indent=1))
    for kind, of_kind in vars(recorder.maps).items():
        maps = {str(number): np.ascontiguousarray(one) for number, one in of_kind.items()}
        save_file(maps, folder / f"{kind}_maps.safetensors")


def _images(folder: Path) -> tuple[LabelledImage, ...]:
    found = images_in(folder)
    if not found:
        raise DatasetError(f"{folder} holds no images of an unknown product; run the demo again")
    return tuple(LabelledImage(path) for path in found)


def read_inspections(folder: Path) -> tuple[Inspections, Maps]:
    """Read what the device's process wrote; CadEdgeError if it is not there."""
    source = folder / "inspections.json"
    if not source.is_file():
        raise CadEdgeError(
            f"{source} is missing, so there is nothing to report; run the demo again"
        )
    inspections = parse_json(Inspections, source.read_bytes(), str(source), CadEdgeError)
    files = (load_file(folder / f"{one.name}_maps.safetensors") for one in fields(Maps))
    return inspections, Maps(*({int(number): one for number, one in it.items()} for it in files))
