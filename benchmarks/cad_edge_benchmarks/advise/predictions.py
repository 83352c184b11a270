"""What one setting says of every test image, kept so that nothing is learned or judged twice."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cad_edge.schema import Record, TaskName
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.advise.validation_split import SplitImage, SplitName, SplitStream
from cad_edge_benchmarks.instruments.bundle_contents import calibrations_of, task_bytes
from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_benchmarks.instruments.evaluation import judge_task
from cad_edge_runtime import Detector


class SplitPredictions(Record):
    """Predictions on one split of a product's test images, in their order."""

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


class TaskPredictions(Record):
    """Predictions on both splits."""

    selection: SplitPredictions
    evaluation: SplitPredictions

    def split(self, name: SplitName) -> SplitPredictions:
        """Return those on one split."""
        return self.selection if name == "selection" else self.evaluation


class Predictions(Record):
    """Everything about a setting that does not change from run to run."""

    device: str = Field(description="what the graphs ran on")
    size: int = Field(description="input side in pixels")
    task_bytes: float = Field(description="of a bundle, for one task; mean over tasks")
    bundle_bytes: int
    tasks: dict[TaskName, TaskPredictions]


def predict(bundle: Path, data: SplitStream, device: str, threads: int) -> Predictions:
    """Show every test image to a bundle, each routed on its own.

    Raises
    ------
    CadEdgeError
        The bundle does not open on this device, or an image cannot be read.
    """
    with Detector.open(bundle, device, threads, watch=False) as detector:
        manifest = detector.manifest
        sizes = [task_bytes(Bundle(bundle), manifest, name) for name in manifest.tasks]
        return Predictions(
            device=detector.device,
            size=manifest.selector.engine.recipe.width,
            task_bytes=sum(sizes) / len(sizes),
            bundle_bytes=folder_bytes(bundle),
            tasks={
                name: TaskPredictions(
                    selection=_predict(detector, name, product.selection),
                    evaluation=_predict(detector, name, product.evaluation),
                )
                for name, product in data.products.items()
            },
        )


def _predict(detector: Detector, name: str, images: tuple[SplitImage, ...]) -> SplitPredictions:
    outcomes, pixels, _ = judge_task(
        lambda frame, depth: detector.detect(frame, depth=depth),
        name,
        [one.image for one in images],
        calibrations_of(detector.manifest),
    )
    return SplitPredictions(
        scores=[None if math.isinf(one.score) else one.score for one in outcomes],
        anomalous=[one.anomalous for one in outcomes],
        routed=[one.routed for one in outcomes],
        pixel_auroc=pixels.measure().auroc,
    )
