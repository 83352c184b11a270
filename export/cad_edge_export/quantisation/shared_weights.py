"""Eight bits for tasks with shared weights: products of language models, row by row (`matmul`).

What is quantised depends on weights alone, so that graphs which all tasks share stay the same when
one is added. Images are needed for the evidence only, and to tell by how much scores shift. Where
the evidence of a task does not hold, fewer products are quantised: first without those that close a
decoder layer, whose inputs have the largest outliers, then none of the decoder. The entry of a
chain stays in float, which makes routing that of a float bundle, bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cad_edge_export.graph_files import Graph
from cad_edge_export.quantisation.evidence import holds, weigh
from cad_edge_export.quantisation.matmul import products_in, quantise_products
from cad_edge_export.quantisation.running import Runs, run_groups
from cad_edge_export.quantisation.tasks import FloatTask, QuantisedTask

Parts = tuple[str, ...]
"""Parts of names of weights; what has one of them in its name stays in float."""

ATTEMPTS: tuple[Parts, ...] = ((), (".linears.down.",), (".linears.",))
_OUTPUTS = ("score",)


@dataclass(frozen=True)
class _Choice:
    """Graphs of tasks that have all of them in common."""

    graphs: tuple[Graph, ...]
    kept: list[str]
    """Products in float, as <stage>/<weight>."""


def quantise_shared_weights(
    tasks: Sequence[FloatTask], held: Mapping[str, Graph]
) -> dict[str, QuantisedTask]:
    """Quantise every graph of ``tasks`` but entries.

    Parameters
    ----------
    tasks
        At least one.
    held
        Quantised graphs that exist already, by key; used as they are, unless the evidence of some
        task does not hold with them.

    Returns
    -------
    Quantised tasks by name. Whether their evidence is within the limits is for the caller to judge:
    where no attempt makes it hold, this is the last one, up to the first task that it fails for.
    """
    alike: dict[tuple[str, ...], list[FloatTask]] = {}
    for task in tasks:
        alike.setdefault(task.keys, []).append(task)
    done: dict[str, QuantisedTask] = {}
    for some in alike.values():
        done |= _quantise(some, held)
    return done


def _quantise(tasks: Sequence[FloatTask], held: Mapping[str, Graph]) -> dict[str, QuantisedTask]:
    """Quantise tasks that have all graphs in common."""
    float_runs = [run_groups(task.fused, task.graphs, task.images, _OUTPUTS) for task in tasks]
    one = tasks[0]
    found: dict[str, QuantisedTask] = {}
    for parts in _attempts(one, held):
        choice = _held(one, held) if parts is None else _choose(one, parts)
        found = {}
        for task, runs in zip(tasks, float_runs, strict=True):
            done = found[task.learned.artifact.task] = _finish(task, runs, choice)
            if not holds(done.evidence):
                break
        else:
            break
    return found


def _attempts(task: FloatTask, held: Mapping[str, Graph]) -> list[Parts | None]:
    """List what to try in order; None stands for the graphs that exist."""
    if not any(key in held for key in task.keys):
        return list(ATTEMPTS)
    kept = set(_held(task, held).kept)
    return [None, *(parts for parts in ATTEMPTS if set(_kept(task, parts)) > kept)]


def _held(task: FloatTask, held: Mapping[str, Graph]) -> _Choice:
    """Graphs that exist, and wholly quantised ones in place of others."""
    graphs = tuple(
        held[key] if key in held else _quantise_graph(task, number, ())
        for number, key in enumerate(task.keys)
    )
    return _Choice(graphs, _in_float(task, graphs))


def _choose(task: FloatTask, parts: Parts) -> _Choice:
    graphs = tuple(_quantise_graph(task, number, parts) for number in range(len(task.graphs)))
    return _Choice(graphs, _kept(task, parts))


def _quantise_graph(task: FloatTask, number: int, parts: Parts) -> Graph:
    graph = task.graphs[number]
    if _is_entry(task, number):
        return graph
    return quantise_products(graph, {name for name in products_in(graph) if _named(name, parts)})


def _kept(task: FloatTask, parts: Parts) -> list[str]:
    """Products of the float graphs that ``parts`` leaves in float."""
    return [name for name in _in_float(task, task.graphs) if _named(name, parts)]


def _in_float(task: FloatTask, graphs: Sequence[Graph]) -> list[str]:
    return [
        f"{number}/{name}"
        for number, graph in enumerate(graphs)
        if not _is_entry(task, number)
        for name in products_in(graph)
    ]


def _named(name: str, parts: Parts) -> bool:
    return any(part in name for part in parts)


def _is_entry(task: FloatTask, number: int) -> bool:
    return "descriptor" in task.fused.stages[number].outputs


def _finish(task: FloatTask, float_runs: Runs, choice: _Choice) -> QuantisedTask:
    quantised_runs = run_groups(task.fused, choice.graphs, task.images, _OUTPUTS)
    measured = len(task.images.normal)
    evidence = weigh(
        float_runs.scores(), quantised_runs.scores(), task.threshold, choice.kept, measured
    )
    return QuantisedTask(task.fused, choice.graphs, evidence, 0.0, np.zeros(()))
