"""Quantising the graphs of a whole export: stage by stage, all tasks that share a graph together.

No layer stays in float at first. If the evidence of some task does not hold, the first quantised
layer of one graph stays: the graph with the layer that loses most on its own. So it goes on, one
layer at a time, until the evidence holds or nothing is left to round. Layers stay from the
beginning of a graph on because ONNX Runtime rounds the weights of a float convolution that stands
between quantised tensors, with one scale for all channels, which is worse than what it was spared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cad_edge.errors import OptionError
from cad_edge_export.fused_task import FusedTask, StageModule
from cad_edge_export.fusions import quantisable_fusion
from cad_edge_export.graph_files import GRAPH, Graph, in_one
from cad_edge_export.quantisation.biases import correct_biases
from cad_edge_export.quantisation.evidence import holds, weigh
from cad_edge_export.quantisation.float_graph import FloatGraph
from cad_edge_export.quantisation.placement import Range, Style, place, quantised_tensors
from cad_edge_export.quantisation.ranges import Feed, measure_ranges
from cad_edge_export.quantisation.running import BATCH, Runs, feeds_of, run, run_groups
from cad_edge_export.quantisation.sensitivity import sensitivities
from cad_edge_export.quantisation.tasks import FloatTask, QuantisedTask

CORRECTED_ON = 48  # images that means are taken over, of all tasks together
RANKED_ON = 16  # images that layers are ranked on
_OUTPUTS = ("score", "anomaly_map", "descriptor", "hidden")


@dataclass(frozen=True)
class _Measured:
    """What does not depend on which layers stay in float."""

    ranges: Mapping[str, Range]
    losses: Mapping[str, float]
    """By convolution, in the order of the graph."""
    feeds: Sequence[Feed]


def quantise(
    tasks: Sequence[FloatTask], style: Style, held: Mapping[str, Graph]
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
    float_runs = [run_groups(task.fused, task.graphs, task.images, _OUTPUTS) for task in tasks]
    order = list(range(len(tasks)))
    while True:
        graphs = {
            key: {GRAPH: _build(_float_graph(tasks, key), part, style, kept[key])}
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
            done[index] = _finish(tasks[index], float_runs[index], {**held, **graphs}, names[index])
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
        in_one(graph)
        for task in tasks
        for name, graph in zip(task.keys, task.graphs, strict=True)
        if name == key
    )


def _measure(
    tasks: Sequence[FloatTask], style: Style, held: Mapping[str, Graph]
) -> dict[str, _Measured]:
    """Ranges, losses and feeds of every graph that is to be quantised, by key."""
    pools: dict[str, tuple[StageModule, bytes, list[Feed]]] = {}
    for task in tasks:
        images = np.concatenate([task.images.normal, task.images.defective])
        for place_in_chain, stage in enumerate(task.fused.stages):
            key, graph = task.keys[place_in_chain], in_one(task.graphs[place_in_chain])
            if key not in held and len(FloatGraph(graph).convolutions) > 1:
                pool = pools.setdefault(key, (stage, graph, []))
                pool[2].extend(feeds_of(task, place_in_chain, images))
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
    quantised = place(FloatGraph(graph), part.ranges, style, set(names))
    return correct_biases(graph, quantised, part.feeds)


def _finish(
    task: FloatTask, float_runs: Runs, graphs: Mapping[str, Graph], kept: list[str]
) -> QuantisedTask:
    quantised_graphs = tuple(
        graphs.get(key, graph) for key, graph in zip(task.keys, task.graphs, strict=True)
    )
    fused = _bias_corrected(task, float_runs, quantised_graphs)
    quantised_runs = run_groups(fused, quantised_graphs, task.images, _OUTPUTS)
    evidence = weigh(
        float_runs.scores(), quantised_runs.scores(), task.threshold, kept, len(task.images.normal)
    )
    after, before = quantised_runs.measured, float_runs.measured
    peaks = [
        one["anomaly_map"].max(axis=(1, 2)).mean() if "anomaly_map" in one else 0.0
        for one in (after, before)
    ]
    means = [
        one["descriptor"].mean(axis=0, dtype=np.float64) if "descriptor" in one else np.zeros(())
        for one in (after, before)
    ]
    return QuantisedTask(
        fused, quantised_graphs, evidence, float(peaks[0] - peaks[1]), means[0] - means[1]
    )


def _bias_corrected(
    task: FloatTask, float_runs: Runs, quantised_graphs: Sequence[Graph]
) -> FusedTask:
    """Let the task's tensors follow what rounding did to the stage before the last."""
    if len(task.graphs) < 2:
        return task.fused
    fusion = quantisable_fusion(task.learned.artifact.method)
    moved = run(task.fused, quantised_graphs[:-1], task.images.normal, ("hidden",))["hidden"]
    return replace(
        task.fused, tensors=fusion.bias_corrected(task.fused, float_runs.measured["hidden"], moved)
    )


def _spread(feeds: Sequence[Feed], count: int) -> list[Feed]:
    """Choose ``count`` of the feeds, evenly spread."""
    chosen = np.unique(np.linspace(0, len(feeds) - 1, min(count, len(feeds))).astype(np.int64))
    return [feeds[index] for index in chosen]
