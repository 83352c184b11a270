"""Which convolutions lose most when they alone are quantised."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cad_edge_export.quantisation.float_graph import FloatGraph
from cad_edge_export.quantisation.placement import Range, Style, place
from cad_edge_export.quantisation.ranges import Feed, open_graph

Array = np.ndarray[Any, np.dtype[Any]]


def sensitivities(
    serialised: bytes,
    ranges: Mapping[str, Range],
    style: Style,
    feeds: Sequence[Feed],
    outputs: Sequence[str],
) -> dict[str, float]:
    """Error of the graph's outputs with one convolution quantised, for each convolution.

    Returns
    -------
    Per convolution the largest error over ``outputs``: root mean square of the difference in
    standard deviations of the channel.
    """
    names = [layer.name for layer in FloatGraph(serialised).convolutions]
    float_outputs = _answers(serialised, feeds, outputs)
    found = {}
    for name in names:
        kept = {other for other in names if other != name}
        quantised_outputs = _answers(
            place(FloatGraph(serialised), ranges, style, kept), feeds, outputs
        )
        found[name] = max(
            _error(float_outputs[output], quantised_outputs[output]) for output in outputs
        )
    return found


def _answers(serialised: bytes, feeds: Sequence[Feed], outputs: Sequence[str]) -> dict[str, Array]:
    session = open_graph(serialised)
    answers = [session.run(list(outputs), feed) for feed in feeds]
    return {
        output: np.concatenate([answer[index] for answer in answers])
        for index, output in enumerate(outputs)
    }


def _error(float_output: Array, quantised_output: Array) -> float:
    """Channels (axis 1 of descriptors and feature maps) count alike, however large they are."""
    axes = tuple(
        axis for axis in range(float_output.ndim) if axis != 1 or float_output.ndim not in (2, 4)
    )
    deviation = float_output.std(axis=axes, keepdims=True, dtype=np.float64)
    deviation = np.where(deviation > 0, deviation, 1.0)
    return float(np.sqrt(np.mean(((quantised_output - float_output) / deviation) ** 2)))
