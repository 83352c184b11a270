"""Running a graph over calibration images: ranges of its activations and means of its channels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from cad_edge.onnxruntime_installation import InferenceSession
from cad_edge_export import graph_files
from cad_edge_export.quantisation.placement import Encoding, Range, Style

Array = np.ndarray[Any, np.dtype[Any]]
Feed = Mapping[str, Array]

_BINS = 4096  # sixteen per step of eight bits
_SHARES = np.linspace(1.0, 0.3, 36)  # of the widest range, widest first


def open_graph(serialised: bytes) -> InferenceSession:
    """Open a graph on the CPU."""
    return graph_files.open_graph({graph_files.GRAPH: serialised})


def measure_ranges(
    serialised: bytes, feeds: Sequence[Feed], names: Sequence[str], style: Style
) -> dict[str, Range]:
    """Ranges of the tensors ``names`` that lose least in eight bits over all feeds.

    A range that reaches to the largest value of all gives every other value a coarser step. Which
    share of it costs the smallest mean squared error is counted, saturation included.
    """
    inner = [name for name in names if name not in _inputs(serialised)]
    session = open_graph(with_outputs(serialised, inner))
    widest: dict[str, Range] = {}
    for name, value in _values(session, feeds, names, inner):
        low, high = widest.get(name, Range(0.0, 0.0))
        widest[name] = Range(min(low, float(value.min())), max(high, float(value.max())))
    counts = {name: np.zeros(_BINS, dtype=np.int64) for name in widest}
    for name, value in _values(session, feeds, names, inner):
        counts[name] += np.histogram(value, _BINS, widest[name])[0]
    return {name: best_range(counts[name], found, style) for name, found in widest.items()}


def _values(
    session: InferenceSession,
    feeds: Iterable[Feed],
    names: Sequence[str],
    inner: Sequence[str],
) -> Iterator[tuple[str, Array]]:
    """Tensors ``names`` of every feed; ``inner`` of them are made by the graph."""
    for feed in feeds:
        yield from zip(inner, session.run(inner, feed) if inner else [], strict=True)
        yield from ((name, feed[name]) for name in names if name in feed)


def best_range(counts: Array, widest: Range, style: Style) -> Range:
    """Shrink a range to where the mean squared error of eight bits is smallest.

    Parameters
    ----------
    counts
        (bins,) int64, how many values lie in each of equal parts of ``widest``.
    widest
        Smallest and largest value.
    style
        How the range is encoded.
    """
    edges = np.linspace(widest.low, widest.high, len(counts) + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    ranges = [Range(widest.low * share, widest.high * share) for share in _SHARES]
    errors = [
        (counts * (Encoding.of(found, style).quantised(middles) - middles) ** 2).sum()
        for found in ranges
    ]
    return ranges[int(np.argmin(errors))]


def channel_means(
    session: InferenceSession, feeds: Iterable[Feed], names: Sequence[str]
) -> dict[str, Array]:
    """Mean of every channel of the tensors ``names`` (n, channels, h, w) over all feeds."""
    sums: dict[str, Array] = {}
    counts = dict.fromkeys(names, 0)
    for feed in feeds:
        for name, value in zip(names, session.run(list(names), feed), strict=True):
            sums[name] = sums.get(name, 0) + value.sum(axis=(0, 2, 3), dtype=np.float64)
            counts[name] += value.shape[0] * value.shape[2] * value.shape[3]
    return {name: sums[name] / counts[name] for name in names}


def with_outputs(serialised: bytes, names: Iterable[str]) -> bytes:
    """Return the model with the tensors ``names`` among its outputs."""
    model = onnx.ModelProto.FromString(serialised)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    serialised_again: bytes = model.SerializeToString()
    return serialised_again


def _inputs(serialised: bytes) -> set[str]:
    return {value.name for value in onnx.ModelProto.FromString(serialised).graph.input}
