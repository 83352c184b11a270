"""Answers: what the last graph of an engine gave, held against what an engine promises.

A graph states what it gives, and a version is refused where that is something else; but sizes that
vary are known only when it has run. An answer of another shape must not be taken for one.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from cad_edge.errors import GraphError
from cad_edge_runtime.chain import Values
from cad_edge_runtime.engine_outputs import (
    ANOMALY_MAP,
    LEVEL_MAPS,
    LEVELS,
    PROBABILITY,
    SCORE,
)
from cad_edge_runtime.levels import Levels
from cad_edge_runtime.session import Array
from cad_edge_runtime.snapshot import OpenTask

_FLOAT = np.dtype(np.float32)
_MAP_AXES = 3
_LEVEL_MAP_AXES = 4

Answers: TypeAlias = tuple[
    Array, Sequence[Array | None], Sequence[float | None], Sequence[Levels | None]
]


def answers_of(opened: OpenTask, values: Values, count: int) -> Answers:
    """Take score, map, probability and levels of each frame.

    Parameters
    ----------
    opened
        Whose chain was run.
    values
        What it computed.
    count
        Frames that went in.

    Returns
    -------
    Scores (count,) float32; maps (count, h, w) float32, or None for each frame; probabilities in
    [0, 1], or None for each; levels by the names that the manifest has for them, or None for each.

    Raises
    ------
    GraphError
        The graph gave something else.
    """
    results = opened.chain.results
    scores = values[results[SCORE]]
    if scores.dtype != _FLOAT or scores.shape != (count,):
        raise _other(opened, SCORE, scores, f"({count},)")
    maps: Sequence[Array | None] = [None] * count
    if ANOMALY_MAP in results:
        found = values[results[ANOMALY_MAP]]
        counted = found.ndim == _MAP_AXES and len(found) == count and found.size
        if found.dtype != _FLOAT or not counted:
            raise _other(opened, ANOMALY_MAP, found, f"({count}, h, w)")
        maps = [*found]
    probabilities: Sequence[float | None] = [None] * count
    if PROBABILITY in results:
        said = values[results[PROBABILITY]]
        if said.dtype != _FLOAT or said.shape != (count,):
            raise _other(opened, PROBABILITY, said, f"({count},)")
        probabilities = [_probability(opened, float(one)) for one in said]
    return scores, maps, probabilities, _levels(opened, values, count)


def _levels(opened: OpenTask, values: Values, count: int) -> Sequence[Levels | None]:
    results, names = opened.chain.results, opened.entry.levels
    if LEVELS not in results:
        return [None] * count
    added = values[results[LEVELS]]
    if added.dtype != _FLOAT or added.shape != (count, len(names)):
        raise _other(opened, LEVELS, added, f"({count}, {len(names)})")
    by_name = [dict(zip(names, map(float, row), strict=True)) for row in added]
    if LEVEL_MAPS not in results:
        return [Levels(one, None) for one in by_name]
    found = values[results[LEVEL_MAPS]]
    counted = found.ndim == _LEVEL_MAP_AXES and found.shape[:2] == added.shape and found.size
    if found.dtype != _FLOAT or not counted:
        raise _other(opened, LEVEL_MAPS, found, f"({count}, {len(names)}, h, w)")
    maps = [dict(zip(names, row, strict=True)) for row in found]
    return [Levels(*one) for one in zip(by_name, maps, strict=True)]


def _probability(opened: OpenTask, said: float) -> float | None:
    if said != said:
        return None  # the score is no number either, and what it means is anomalous
    if not 0.0 <= said <= 1.0:
        raise GraphError(
            f"the engine of task {opened.name!r} gives the probability {said:.6g}; export the "
            "bundle again"
        )
    return said


def _other(opened: OpenTask, output: str, found: Array, wanted: str) -> GraphError:
    return GraphError(
        f"the engine of task {opened.name!r} gives {output!r} as {found.dtype} of shape "
        f"{found.shape}, not float32 of {wanted}; export the bundle again"
    )
