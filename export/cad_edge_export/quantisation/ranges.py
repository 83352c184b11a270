"""Running a graph over calibration images: ranges of its activations and means of its channels."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from cad_edge_export.quantisation.placement import Range

Array = np.ndarray[Any, np.dtype[Any]]
Feed = Mapping[str, Array]


def open_graph(serialised: bytes) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(serialised, options, providers=["CPUExecutionProvider"])


def measure_ranges(
    serialised: bytes, feeds: Iterable[Feed], names: Sequence[str]
) -> dict[str, Range]:
    """Smallest and largest value of the tensors ``names`` over all feeds.

    The range of what lies between is measured, not estimated: a defect may go beyond what a good
    part reaches, so feeds should hold images with defects too.
    """
    inner = [name for name in names if name not in _inputs(serialised)]
    session = open_graph(with_outputs(serialised, inner))
    found: dict[str, Range] = {}
    for feed in feeds:
        values = dict(zip(inner, session.run(inner, feed) if inner else [], strict=True))
        values |= {name: feed[name] for name in names if name in feed}
        for name, value in values.items():
            low, high = found.get(name, Range(0.0, 0.0))
            found[name] = Range(min(low, float(value.min())), max(high, float(value.max())))
    return found


def channel_means(
    session: onnxruntime.InferenceSession, feeds: Iterable[Feed], names: Sequence[str]
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
