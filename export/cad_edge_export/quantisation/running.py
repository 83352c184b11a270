"""Running an engine over the images of a task: its outputs, and what a stage of it is given."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cad_edge.onnxruntime_installation import InferenceSession
from cad_edge_export.fused_task import FusedTask
from cad_edge_export.graph_files import Graph, open_graph
from cad_edge_export.quantisation.calibration_images import CalibrationImages
from cad_edge_export.quantisation.evidence import EngineScores
from cad_edge_export.quantisation.ranges import Feed
from cad_edge_export.quantisation.tasks import FloatTask

Array = np.ndarray[Any, np.dtype[Any]]

BATCH = 8


@dataclass(frozen=True)
class Runs:
    """Outputs of one engine by name, on the groups of `CalibrationImages` that are scored."""

    measured: Mapping[str, Array]
    normal: Mapping[str, Array]
    defective: Mapping[str, Array]

    def scores(self) -> EngineScores:
        """Scores of the three groups."""
        return EngineScores(self.measured["score"], self.normal["score"], self.defective["score"])


def run_groups(
    fused: FusedTask, graphs: Sequence[Graph], images: CalibrationImages, outputs: Collection[str]
) -> Runs:
    """Run an engine over all images of a task that are scored, and keep some outputs."""
    groups = images.normal, images.held_normal, images.held_defective
    found = run(fused, graphs, np.concatenate(groups), outputs)
    ends = np.cumsum([len(group) for group in groups])[:-1]
    parts = {name: np.split(value, ends) for name, value in found.items()}
    first, second, third = ({name: part[k] for name, part in parts.items()} for k in range(3))
    return Runs(first, second, third)


def run(
    fused: FusedTask, graphs: Sequence[Graph], images: Array, outputs: Collection[str]
) -> dict[str, Array]:
    """Run the first stages, one per graph, over ``images``.

    One stage after the other over all images, since large graphs have no room beside each other.

    Returns
    -------
    Those of ``outputs`` that some stage has, by name.
    """
    batches = [
        _sources(fused, images[start : start + BATCH]) for start in range(0, len(images), BATCH)
    ]
    wanted = {
        f"{number}/{name}": name
        for number in range(len(graphs))
        for name in fused.stages[number].outputs
        if name in outputs
    }
    for number, graph in enumerate(graphs):
        session = open_graph(graph)
        read = {item.source for stage in fused.stages[number + 1 :] for item in stage.inputs}
        for values in batches:
            _run_stage(fused, number, session, values)
            for source in values.keys() - read - wanted.keys():
                del values[source]
    return {
        name: np.concatenate([values[source] for values in batches])
        for source, name in wanted.items()
    }


def feeds_of(task: FloatTask, number: int, images: Array) -> list[Feed]:
    """Collect inputs of stage ``number`` over ``images``, from the float stages before it."""
    before = [open_graph(graph) for graph in task.graphs[:number]]
    feeds: list[Feed] = []
    for start in range(0, len(images), BATCH):
        values = _sources(task.fused, images[start : start + BATCH])
        for earlier, session in enumerate(before):
            _run_stage(task.fused, earlier, session, values)
        inputs = task.fused.stages[number].inputs
        feeds.append({item.name: values[item.source] for item in inputs})
    return feeds


def _run_stage(
    fused: FusedTask, number: int, session: InferenceSession, values: dict[str, Array]
) -> None:
    """Run stage ``number`` on what ``values`` holds and add its outputs."""
    stage = fused.stages[number]
    feed = {item.name: values[item.source] for item in stage.inputs}
    found = session.run(list(stage.outputs), feed)
    values |= {f"{number}/{name}": value for name, value in zip(stage.outputs, found, strict=True)}


def _sources(fused: FusedTask, images: Array) -> dict[str, Array]:
    tensors = {f"tensor/{name}": tensor for name, tensor in fused.bound().items()}
    return {"frame/image": images, **tensors}
