"""A graph as the files of its object: the graph, and beside it weights that it cannot hold.

Protobuf ends at 2 GiB. Weights beyond a limit lie in a file of their own, each at the start of a
page, so that ONNX Runtime maps them into memory instead of reading them twice.
"""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cad_edge.onnxruntime_installation import (
    EXACT_PRODUCTS,
    FATAL_ONLY,
    InferenceSession,
    load_onnxruntime,
    open_session,
)

Array = np.ndarray[Any, np.dtype[Any]]

Graph = Mapping[str, bytes]
"""Files of an object by name."""

GRAPH, WEIGHTS = "graph.onnx", "weights.bin"
INLINE_BYTES = 1 << 26  # of weights that stay within the graph
_PAGE = 4096
_SMALL = 1024  # bytes; shapes and axes have to stay, and small weights may


def put_beside(model: onnx.ModelProto, limit: int) -> dict[str, bytes]:
    """Move weights out of a model that has more than ``limit`` bytes of them.

    Returns
    -------
    dict
        Empty, or ``weights.bin``; the model is changed and refers to it.
    """
    weights = model.graph.initializer
    if sum(len(weight.raw_data) for weight in weights) <= limit:
        return {}
    moved = io.BytesIO()  # gives its bytes away without a copy, which may be gigabytes
    for weight in weights:
        length = len(weight.raw_data)
        if length < _SMALL:
            continue
        moved.write(bytes(-moved.tell() % _PAGE))
        entries = {"location": WEIGHTS, "offset": str(moved.tell()), "length": str(length)}
        moved.write(weight.raw_data)
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        for key, value in entries.items():
            weight.external_data.add(key=key, value=value)
    return {WEIGHTS: moved.getvalue()}


def value_of(weight: onnx.TensorProto, beside: bytes) -> Array:
    """Value of a weight, which may lie in ``beside``, the graph's ``weights.bin``; not copied."""
    if weight.data_location != onnx.TensorProto.EXTERNAL:
        return numpy_helper.to_array(weight)
    place = {entry.key: entry.value for entry in weight.external_data}
    kind = helper.tensor_dtype_to_np_dtype(weight.data_type)
    start, count = int(place["offset"]), int(place["length"]) // kind.itemsize
    return np.frombuffer(beside, kind, count, start).reshape(weight.dims)


def bring_in(model: onnx.ModelProto, beside: bytes) -> None:
    """Undo `put_beside`."""
    for weight in model.graph.initializer:
        if weight.data_location == onnx.TensorProto.EXTERNAL:
            weight.CopyFrom(numpy_helper.from_array(value_of(weight, beside), weight.name))


def in_one(graph: Graph) -> bytes:
    """Return a graph with all of its weights in it; it must not exceed what protobuf holds."""
    if WEIGHTS not in graph:
        return graph[GRAPH]
    model = onnx.ModelProto.FromString(graph[GRAPH])
    bring_in(model, graph[WEIGHTS])
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def open_graph(graph: Graph) -> InferenceSession:
    """Open a graph with ONNX Runtime on the CPU."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(*EXACT_PRODUCTS)
    providers = ["CPUExecutionProvider"]
    if WEIGHTS not in graph:
        return open_session(onnxruntime, graph[GRAPH], options, providers)
    # Where files that are open cannot be removed, the folder stays until the machine tidies up.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name, data in graph.items():
            (Path(folder) / name).write_bytes(data)
        return open_session(onnxruntime, str(Path(folder) / GRAPH), options, providers)
