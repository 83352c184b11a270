"""What one setting said of every image, kept so that nothing is learned or judged twice."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cad_edge.schema import Record, TaskName
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.advise.synthetic_anomalies import Part
from cad_edge_benchmarks.advise.validation_split import Line, ProductHalves
from cad_edge_benchmarks.instruments.bundle_contents import calibrations_of, task_bytes
from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_benchmarks.instruments.evaluation import judge_task
from cad_edge_runtime import Detector


class HalfAnswers(Record):
    """Answers on one half of a product's test images, in their order."""

    scores: list[float | None] = Field(description="calibrated; null: refused as unknown product")
    anomalous: list[bool]
    routed: list[bool] = Field(description="whether its own product was recognised")
    pixel_auroc: float | None

    def labels(self) -> NDArray[np.bool_]:
        """(n,) bool, True for defective."""
        return np.array(self.anomalous, dtype=np.bool_)

    def values(self) -> NDArray[np.float64]:
        """(n,) float64; a refused frame has the highest score of all, as in `evaluation`."""
        return np.array([math.inf if one is None else one for one in self.scores])


class TaskAnswers(Record):
    """Answers on both halves."""

    choosing: HalfAnswers
    reporting: HalfAnswers


class Answers(Record):
    """Everything about a setting that does not change from run to run."""

    device: str = Field(description="what the graphs ran on")
    size: int = Field(description="input side in pixels")
    task_bytes: float = Field(description="of a bundle, for one task; mean over tasks")
    bundle_bytes: int
    tasks: dict[TaskName, TaskAnswers]


def judge(bundle: Path, line: Line, device: str, threads: int) -> Answers:
    """Show every test image of ``line`` to a bundle, each routed on its own.

    Raises
    ------
    CadEdgeError
        The bundle does not open on this device, or an image cannot be read.
    """
    with Detector.open(bundle, device, threads, watch=False) as detector:
        manifest = detector.manifest
        sizes = [task_bytes(Bundle(bundle), manifest, name) for name in manifest.tasks]
        return Answers(
            device=detector.device,
            size=manifest.selector.engine.recipe.width,
            task_bytes=sum(sizes) / len(sizes),
            bundle_bytes=folder_bytes(bundle),
            tasks={name: _judge(detector, name, one) for name, one in line.halves.items()},
        )


def _judge(detector: Detector, name: str, halves: ProductHalves) -> TaskAnswers:
    return TaskAnswers(
        choosing=_answers(detector, name, halves.choosing),
        reporting=_answers(detector, name, halves.reporting),
    )


def _answers(detector: Detector, name: str, parts: tuple[Part, ...]) -> HalfAnswers:
    calibrations = calibrations_of(detector.manifest)
    items = [part.image for part in parts]
    outcomes, pixels, _ = judge_task(
        lambda frame, depth: detector.detect(frame, depth=depth), name, items, calibrations
    )
    return HalfAnswers(
        scores=[None if math.isinf(one.score) else one.score for one in outcomes],
        anomalous=[one.anomalous for one in outcomes],
        routed=[one.routed for one in outcomes],
        pixel_auroc=pixels.measure().auroc,
    )
