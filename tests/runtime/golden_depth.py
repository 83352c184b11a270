"""Gives tasks of the golden bundle an engine that looks at depth; the bytes need no `onnx`."""

from dataclasses import dataclass

import numpy as np

from cad_edge.calibration import Calibration, decide
from cad_edge.data.depth import DepthRange
from cad_edge.store.manifest import Engine, Stage, TaskEntry
from tests.runtime.onnx_bytes import field, model

RANGE = DepthRange(low=490.0, high=510.0)
SCORES = [float(value) for value in np.linspace(495, 505, 40)]
"""Held-out scores: the mean depth of good parts."""

_FLOAT = 1


def _port(name: str, *sides: int) -> bytes:
    """Float of any number of frames."""
    batch = field(1, field(2, "batch"))
    shape = batch + b"".join(field(1, field(1, side)) for side in sides)
    return field(1, name) + field(2, field(1, field(1, _FLOAT) + field(2, shape)))


def _mean(source: str, name: str, axes: list[int]) -> bytes:
    """ReduceMean without the axes that it is taken over."""
    kinds = field(20, 7), field(20, 2)  # a list of numbers, and a number
    over = field(1, "axes") + b"".join(field(8, axis) for axis in axes) + kinds[0]
    keep = field(1, "keepdims") + field(3, 0) + kinds[1]
    return (
        field(1, source) + field(2, name) + field(4, "ReduceMean") + field(5, over) + field(5, keep)
    )


def depth_graph() -> bytes:
    """(features, depth) -> score, the mean of the depth, and the features' mean as map."""
    nodes = field(1, _mean("depth", "score", [1, 2])) + field(
        1, _mean("features", "anomaly_map", [1])
    )
    given = field(11, _port("features", 8, 16, 16)) + field(11, _port("depth", 32, 32))
    said = field(12, _port("score")) + field(12, _port("anomaly_map", 16, 16))
    return model(nodes + field(2, "depth") + given + said, opset=17)


@dataclass(frozen=True)
class Given:
    """What a task was, and what it has become."""

    before: TaskEntry
    after: TaskEntry


def give_depth(workshop, name: str, stand_in: bool) -> Given:
    """Commit a version in which a task is inspected by its depth.

    What inspected it before answers frames without depth, if there is to be a ``stand_in``.
    """
    before = workshop.store.manifest().tasks[name]
    entry = workshop.store.manifest().selector.engine.stages[0]
    seen = Stage(
        graph=workshop.store.add_object({"graph.onnx": depth_graph()}),
        inputs={"features": "0/features", "depth": "frame/depth"},
    )
    engine = Engine(
        recipe=before.engine.recipe,
        stages=[entry, seen],
        tensors=None,
        layout="shared",
        precision="fp32",
    )
    calibration = Calibration(scheme="split", folds=1, scores=SCORES, map_peaks=[])
    after = before.model_copy(
        update={
            "engine": engine,
            "depth": RANGE,
            "calibration": calibration,
            "decision": decide(calibration, 0.05),
            "without_depth": before if stand_in else None,
        }
    )
    workshop.change_task(name, lambda _: after)
    return Given(before, after)


def plane(mean: float, side: int = 32) -> np.ndarray:
    """(side, side) float32 that slopes by a fiftieth around ``mean``; a corner was not measured."""
    slope = np.linspace(0.99 * mean, 1.01 * mean, side, dtype=np.float32)
    found = np.repeat(slope[None], side, axis=0)
    found[:2, :2] = 0
    return found
