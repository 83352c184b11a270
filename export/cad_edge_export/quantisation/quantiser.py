"""Quantising the graphs of a whole export: stage by stage, all tasks that share a graph together.

No layer stays in float at first. If the evidence of some task does not hold, the first rounded
layer of one graph stays: the graph with the layer that loses most on its own. So it goes on, one
layer at a time, until the evidence holds or nothing is left to round. Layers stay from the
beginning of a graph on because ONNX Runtime rounds the weights of a float convolution that stands
between quantised tensors, with one scale for all channels, which is worse than what it was spared.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime

from cad_edge.artifact import LearnedTask
from cad_edge.calibration import decide
from cad_edge.errors import OptionError
from cad_edge.manifest import Quantisation
from cad_edge_export.fused_task import FusedTask, StageModule
from cad_edge_export.quantisation.biases import correct_biases
from cad_edge_export.quantisation.calibration_images import CalibrationImages
from cad_edge_export.quantisation.evidence import Scores, holds, weigh
from cad_edge_export.quantisation.float_graph import FloatGraph
from cad_edge_export.quantisation.placement import Range, Style, place, quantised_tensors
from cad_edge_export.quantisation.ranges import Feed, measure_ranges, open_graph
from cad_edge_export.quantisation.sensitivity import sensitivities

Array = np.ndarray[Any, np.dtype[Any]]

BATCH = 8
CORRECTED_ON = 48  # images that means are taken over, of all tasks together
RANKED_ON = 16  # images that layers are ranked on


@dataclass(frozen=True)
class FloatTask:
    """A task as it would be exported in float32."""

    learned: LearnedTask
    fused: FusedTask
    graphs: tuple[bytes, ...]
    """One per stage."""
    keys: tuple[str, ...]
    """One per stage; equal keys mean equal graphs."""
    images: CalibrationImages


@dataclass(frozen=True)
class QuantisedTask:
    """The same task in eight bits."""

    fused: FusedTask
    """With the tensors that belong to the rounded graphs."""
    graphs: tuple[bytes, ...]
    evidence: Quantisation
    peak_shift: float
    """By how much rounding moves the largest value of anomaly maps of good parts."""
    descriptor_shift: Array
    """By how much it moves the mean descriptor, (d,) float64."""


@dataclass(frozen=True)
class _Measured:
    """What does not depend on which layers stay in float."""

    ranges: Mapping[str, Range]
    losses: Mapping[str, float]
    """By convolution, in the order of the graph."""
    feeds: Sequence[Feed]


def quantise(
    tasks: Sequence[FloatTask], style: Style, held: Mapping[str, bytes]
) -> dict[str, QuantisedTask]:
    """Quantise every graph of ``tasks`` that has convolutions.

    Parameters
    ----------
    tasks
        At least one.
    held
        Quantised graphs that exist already, by key; used as they are.

    Returns
    -------
    Quantised tasks by name. Whether their evidence is within the limits is for the caller to judge:
    where no choice of layers makes it hold, this is the choice with most of them in float.

    Raises
    ------
    OptionError
        There is no convolution to quantise.
    """
    measured = _measure(tasks, style, held)
    if not measured and not any(key in held for task in tasks for key in task.keys):
        raise OptionError(
            f"{style} quantises convolutions, and this backbone has none to speak of; use fp16"
        )
    kept = dict.fromkeys(measured, 0)
    exact = [_run_groups(task.fused, task.graphs, task.images) for task in tasks]
    order = list(range(len(tasks)))
    while True:
        graphs = {
            key: _build(_float_graph(tasks, key), part, style, kept[key])
            for key, part in measured.items()
        }
        names = _names(tasks, measured, kept)
        left = {
            key: max(losses)
            for key, part in measured.items()
            if (losses := list(part.losses.values())[kept[key] :])
        }
        done: dict[int, QuantisedTask] = {}
        for index in order:
            done[index] = _finish(tasks[index], exact[index], {**held, **graphs}, names[index])
            if left and not holds(done[index].evidence):
                # What failed with fewer layers in float is asked first with more of them.
                order.remove(index)
                order.insert(0, index)
                break
        else:
            return {task.learned.artifact.task: done[index] for index, task in enumerate(tasks)}
        kept[max(left, key=left.__getitem__)] += 1


def _names(
    tasks: Sequence[FloatTask], measured: Mapping[str, "_Measured"], kept: Mapping[str, int]
) -> list[list[str]]:
    """Layers that stay in float, for each task, as <stage>/<convolution>."""
    return [
        [
            f"{stage}/{name}"
            for stage, key in enumerate(task.keys)
            if key in measured
            for name in list(measured[key].losses)[: kept[key]]
        ]
        for task in tasks
    ]


def _float_graph(tasks: Sequence[FloatTask], key: str) -> bytes:
    return next(
        graph
        for task in tasks
        for name, graph in zip(task.keys, task.graphs, strict=True)
        if name == key
    )


def _measure(
    tasks: Sequence[FloatTask], style: Style, held: Mapping[str, bytes]
) -> dict[str, _Measured]:
    """Ranges, losses and feeds of every graph that is to be quantised, by key."""
    pools: dict[str, tuple[StageModule, bytes, list[Feed]]] = {}
    for task in tasks:
        images = np.concatenate([task.images.normal, task.images.defective])
        for place_in_chain, stage in enumerate(task.fused.stages):
            key, graph = task.keys[place_in_chain], task.graphs[place_in_chain]
            if key not in held and len(FloatGraph(graph).convolutions) > 1:
                pool = pools.setdefault(key, (stage, graph, []))
                pool[2].extend(_feeds(task, place_in_chain, images))
    found = {}
    for key, (stage, graph, feeds) in pools.items():
        names = quantised_tensors(FloatGraph(graph), set())
        ranges = measure_ranges(graph, feeds, names, style)
        few = _spread(feeds, RANKED_ON // BATCH)
        losses = sensitivities(graph, ranges, style, few, stage.outputs)
        found[key] = _Measured(ranges, losses, _spread(feeds, CORRECTED_ON // BATCH))
    return found


def _build(graph: bytes, part: _Measured, style: Style, kept: int) -> bytes:
    """Round all but the first ``kept`` convolutions."""
    names = list(part.losses)[:kept]
    if kept == len(part.losses):
        return graph
    rounded = place(FloatGraph(graph), part.ranges, style, set(names))
    return correct_biases(graph, rounded, part.feeds)


def _finish(
    task: FloatTask, exact: "_Runs", graphs: Mapping[str, bytes], kept: list[str]
) -> QuantisedTask:
    rounded_graphs = tuple(
        graphs.get(key, graph) for key, graph in zip(task.keys, task.graphs, strict=True)
    )
    fused = _recentred(task, exact, rounded_graphs)
    rounded = _run_groups(fused, rounded_graphs, task.images)
    artifact = task.learned.artifact
    evidence = weigh(
        exact.scores(),
        rounded.scores(),
        decide(artifact.calibration, artifact.false_reject_rate).threshold,
        kept,
        len(task.images.normal),
    )
    after, before = rounded.measured, exact.measured
    peaks = [
        run["anomaly_map"].max(axis=(1, 2)).mean() if "anomaly_map" in run else 0.0
        for run in (after, before)
    ]
    means = [
        run["descriptor"].mean(axis=0, dtype=np.float64) if "descriptor" in run else np.zeros(())
        for run in (after, before)
    ]
    return QuantisedTask(
        fused, rounded_graphs, evidence, float(peaks[0] - peaks[1]), means[0] - means[1]
    )


def _recentred(task: FloatTask, exact: "_Runs", rounded: Sequence[bytes]) -> FusedTask:
    """Let the task's tensors follow what rounding did to the stage before the last."""
    if len(task.graphs) < 2:
        return task.fused
    fusion = importlib.import_module(f"cad_edge_export.fusions.{task.learned.artifact.method}")
    moved = _run(task.fused, rounded[:-1], task.images.normal)["hidden"]
    return replace(
        task.fused, tensors=fusion.recentred(task.fused, exact.measured["hidden"], moved)
    )


@dataclass(frozen=True)
class _Runs:
    """Outputs of one engine by name, on the groups of `CalibrationImages` that are scored."""

    measured: Mapping[str, Array]
    normal: Mapping[str, Array]
    defective: Mapping[str, Array]

    def scores(self) -> Scores:
        return Scores(self.measured["score"], self.normal["score"], self.defective["score"])


def _run_groups(fused: FusedTask, graphs: Sequence[bytes], images: CalibrationImages) -> _Runs:
    return _Runs(
        _run(fused, graphs, images.normal),
        _run(fused, graphs, images.held_normal),
        _run(fused, graphs, images.held_defective),
    )


def _run(fused: FusedTask, graphs: Sequence[bytes], images: Array) -> dict[str, Array]:
    """Run the first stages, one per graph, over ``images``; their outputs by name."""
    collected: dict[str, list[Array]] = {}
    sessions = [open_graph(graph) for graph in graphs]
    for start in range(0, len(images), BATCH):
        values = _sources(fused, images[start : start + BATCH])
        for number, session in enumerate(sessions):
            _run_stage(fused, number, session, values)
        for number in range(len(graphs)):
            for output in fused.stages[number].outputs:
                collected.setdefault(output, []).append(values[f"{number}/{output}"])
    return {output: np.concatenate(parts) for output, parts in collected.items()}


def _run_stage(
    fused: FusedTask, number: int, session: onnxruntime.InferenceSession, values: dict[str, Array]
) -> None:
    """Run stage ``number`` on what ``values`` holds and add its outputs."""
    stage = fused.stages[number]
    feed = {item.name: values[item.source] for item in stage.inputs}
    found = session.run(list(stage.outputs), feed)
    values |= {f"{number}/{name}": value for name, value in zip(stage.outputs, found, strict=True)}


def _feeds(task: FloatTask, number: int, images: Array) -> list[Feed]:
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


def _sources(fused: FusedTask, images: Array) -> dict[str, Array]:
    tensors = {f"tensor/{name}": tensor for name, tensor in fused.bound().items()}
    return {"frame/image": images, **tensors}


def _spread(feeds: Sequence[Feed], count: int) -> list[Feed]:
    """Choose ``count`` of the feeds, evenly spread."""
    chosen = np.unique(np.linspace(0, len(feeds) - 1, min(count, len(feeds))).astype(np.int64))
    return [feeds[index] for index in chosen]
