"""What the device process says about the test windows, as files that the report reads."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from cad_edge.errors import CadEdgeError
from cad_edge.schema import Record, parse_json
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN
from cad_edge_runtime.detection import Detection

STAGES = ("prepare", "select", "detect", "post")
"""Fields of `cad_edge_runtime.detection.Timings`."""

Maps = dict[int, NDArray[np.float32]]
"""Anomaly map (h, w) of each frame that has one, by the frame's number."""


class Inspected(Record):
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
    similarity: float | None
    calibrated_score: float | None
    p_value: float | None
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

    frames: list[Inspected]
    evaluations: dict[str, TaskEvaluation]
    """As `cad-edge evaluate` gives it, by product."""

    torch_loaded: bool
    """Whether torch was in memory after the last frame."""


def inspected(
    found: Detection,
    path: Path,
    product: str,
    defect: str | None,
    mask: Path | None,
    seconds: float,
) -> Inspected:
    """Keep of a detection what the report shows."""
    return Inspected(
        path=path,
        product=product,
        defect=defect,
        mask=mask,
        size=found.size,
        task=found.task,
        nearest=found.nearest,
        verdict=found.verdict,
        similarity=found.similarity,
        calibrated_score=found.calibrated_score,
        p_value=found.p_value,
        boxes=[defect.box for defect in found.defects],
        seconds=seconds,
        stages={stage: float(getattr(found.timings, stage)) for stage in STAGES},
    )


def write_inspections(folder: Path, inspections: Inspections, maps: Maps) -> None:
    """Write both files of ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inspections.json").write_text(inspections.model_dump_json(indent=1))
    save_file(
        {str(number): np.ascontiguousarray(one) for number, one in maps.items()},
        folder / "maps.safetensors",
    )


def read_inspections(folder: Path) -> tuple[Inspections, Maps]:
    """Read what `write_inspections` wrote; CadEdgeError if it is not there."""
    source = folder / "inspections.json"
    if not source.is_file():
        raise CadEdgeError(
            f"{source} is missing, so there is nothing to report; run the demo again"
        )
    inspections = parse_json(Inspections, source.read_bytes(), str(source), CadEdgeError)
    maps = load_file(folder / "maps.safetensors")
    return inspections, {int(number): one for number, one in maps.items()}
