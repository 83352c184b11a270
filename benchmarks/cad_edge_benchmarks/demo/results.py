"""What the inspections add up to: counts, curves, routing and time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.demo.device import STAGES, DemoInspection, Inspections, Maps
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation
from cad_edge_benchmarks.instruments.probe import Probe
from cad_edge_benchmarks.instruments.proportion import Count
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN


@dataclass(frozen=True)
class ProductResult:
    """What the test windows of one product came to."""

    name: str
    evaluation: TaskEvaluation
    frames: tuple[DemoInspection, ...]

    @property
    def good(self) -> list[DemoInspection]:
        """Windows without a defect."""
        return [frame for frame in self.frames if frame.defect is None]

    @property
    def defective(self) -> list[DemoInspection]:
        """Windows with a defect."""
        return [frame for frame in self.frames if frame.defect is not None]

    def found_by_kind(self) -> dict[str, Count]:
        """Defective windows with any verdict but normal, for each kind of defect."""
        kinds = sorted({frame.defect for frame in self.defective if frame.defect})
        return {
            kind: _rejected([frame for frame in self.defective if frame.defect == kind])
            for kind in kinds
        }

    def roc(self) -> list[tuple[float, float]]:
        """Corners of the ROC curve: share of good and of defective windows above each score."""
        return roc_points(_scores(self.good), _scores(self.defective))


def _rejected(frames: Sequence[DemoInspection]) -> Count:
    return Count(sum(frame.rejected for frame in frames), len(frames))


def _scores(frames: Sequence[DemoInspection]) -> list[float]:
    """Scores as `evaluation.outcome_of` gives them: a refused frame counts as the highest."""
    return [
        math.inf if frame.calibrated_score is None else frame.calibrated_score for frame in frames
    ]


def roc_points(good: Sequence[float], defective: Sequence[float]) -> list[tuple[float, float]]:
    """Shares of ``good`` and ``defective`` at or above each score, from (0, 0) to (1, 1).

    Equal scores make one step, so a tie between the two runs straight between its corners.
    """
    steps = sorted({*good, *defective}, reverse=True)
    bad, well = np.array(defective), np.array(good)
    points = [(float((well >= at).mean()), float((bad >= at).mean())) for at in steps]
    return [(0.0, 0.0), *points]


def products_of(inspections: Inspections) -> list[ProductResult]:
    """One result for each product that was learned, in the order of the stream."""
    return [
        ProductResult(
            name, evaluation, tuple(frame for frame in inspections.frames if frame.product == name)
        )
        for name, evaluation in inspections.evaluations.items()
    ]


def unknown_frames(inspections: Inspections) -> list[DemoInspection]:
    """Frames of the product that was never learned."""
    return [frame for frame in inspections.frames if frame.product not in inspections.evaluations]


@dataclass(frozen=True)
class RoutingRow:
    """What the frames of one row were recognised as."""

    product: str
    condition: str
    """``good``, ``defective`` or ``never learned``."""

    counts: dict[str, int]
    """By product, and ``unknown_product``."""

    right: Count


def routing(inspections: Inspections) -> list[RoutingRow]:
    """Rows of the routing table: every product good and defective, then the unknown one."""
    rows = []
    columns = [*inspections.evaluations, UNKNOWN]
    for product in products_of(inspections):
        rows.append(_row(product.name, "good", product.good, columns, product.name))
        rows.append(_row(product.name, "defective", product.defective, columns, product.name))
    unknown = unknown_frames(inspections)
    name = unknown[0].product if unknown else UNKNOWN
    return [*rows, _row(name, "never learned", unknown, columns, UNKNOWN)]


def _row(
    product: str, condition: str, frames: Sequence[DemoInspection], columns: list[str], truth: str
) -> RoutingRow:
    seen = [frame.recognised_as for frame in frames]
    counts = {column: seen.count(column) for column in columns}
    return RoutingRow(product, condition, counts, Count(counts[truth], len(seen)))


@dataclass(frozen=True)
class Speed:
    """Seconds per frame."""

    median: float
    p90: float
    stages: dict[str, float]
    """Median of each stage, over frames whose product was known."""

    frames: int


def speed_of(inspections: Inspections) -> Speed:
    """Measure over all frames; an unknown product ends after selection and is not in ``stages``."""
    seconds = np.array([frame.seconds for frame in inspections.frames])
    known = [frame for frame in inspections.frames if frame.task is not None]
    stages = {
        stage: float(np.median([frame.stages[stage] for frame in known])) if known else 0.0
        for stage in STAGES
    }
    return Speed(float(np.median(seconds)), float(np.quantile(seconds, 0.9)), stages, len(seconds))


@dataclass(frozen=True)
class DemoReport:
    """Everything that the report tells."""

    inspections: Inspections
    maps: Maps
    manifest: Manifest
    bundle_bytes: int
    task_bytes: Mapping[str, int]
    """Of the bundle, what it keeps for one product alone."""

    probe: Probe
    seed: int
    machine: Mapping[str, object]
    versions: Mapping[str, str]
    steps: Mapping[str, float]
    """Seconds of each step of the demo."""

    commands: tuple[str, ...]
    """Command lines that give the same again."""

    @property
    def products(self) -> list[ProductResult]:
        """Results of the learned products."""
        return products_of(self.inspections)
