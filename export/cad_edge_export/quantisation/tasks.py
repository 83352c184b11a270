"""A task on its way into eight bits, before and after."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cad_edge.calibration import Calibration, decide
from cad_edge.store.artifact import LearnedTask
from cad_edge.store.manifest import Quantisation
from cad_edge_export.fused_task import FusedTask
from cad_edge_export.graph_files import Graph
from cad_edge_export.quantisation.calibration_images import CalibrationImages

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class FloatTask:
    """A task as it would be exported in float32."""

    learned: LearnedTask
    fused: FusedTask
    graphs: tuple[Graph, ...]
    """One per stage."""
    keys: tuple[str, ...]
    """One per stage; equal keys mean equal graphs."""
    images: CalibrationImages
    calibration: Calibration
    """By the model as it is now."""

    @property
    def threshold(self) -> float:
        """Score threshold of the float engine."""
        return decide(self.calibration, self.learned.artifact.false_reject_rate).threshold


@dataclass(frozen=True)
class QuantisedTask:
    """The same task in eight bits."""

    fused: FusedTask
    """With the tensors that belong to the quantised graphs."""
    graphs: tuple[Graph, ...]
    evidence: Quantisation
    peak_shift: float
    """By how much rounding moves the largest value of anomaly maps of good parts."""
    descriptor_shift: Array
    """By how much it moves the mean descriptor, (d,) float64, or () where it does not."""
