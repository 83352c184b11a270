"""The check that a graph passes before a session is made from it.

ONNX Runtime before 1.24 reads ``../secret`` and symbolic links as external data, and its
maintainers do not regard it as a boundary against crafted files. So the file is read here first,
and whatever an engine of this project never has is refused in one sentence.
"""

import mmap
import os
import stat
from collections.abc import Collection
from pathlib import Path

from cad_edge.errors import GraphError
from cad_edge_runtime.graph_summary import ExternalData, GraphLimits, GraphSummary, Port
from cad_edge_runtime.onnx_file import read_onnx
from cad_edge_runtime.operator_signatures import require_signature
from cad_edge_runtime.operators import RULES
from cad_edge_runtime.protobuf import WireError

GRAPH = "graph.onnx"
DEFAULT_LIMITS = GraphLimits()
_STANDARD = ("", "ai.onnx")
_SHOWN = 80  # characters of a name that a message has room for


def check_graph(
    folder: Path,
    expected_inputs: Collection[str],
    expected_outputs: Collection[str],
    limits: GraphLimits = DEFAULT_LIMITS,
) -> GraphSummary:
    """Check ``graph.onnx`` of an object folder and the files that it refers to.

    Parameters
    ----------
    folder
        Object folder; external data must be plain files in it.
    expected_inputs
        Names of the graph's inputs, all of them.
    expected_outputs
        Names of outputs that the graph must have; it may have more.

    Raises
    ------
    GraphError
        With the file and the first fault.
    """
    path = folder / GRAPH
    try:
        summary = _read(path, limits)
        _check_model(summary, limits)
        _check_operators(summary)
        _check_ports(summary, expected_inputs, expected_outputs)
        _check_external(folder, summary, limits)
        opset = max(version for name in _STANDARD for version in summary.opsets.get(name, ()))
        for node in summary.body:
            require_signature(node, opset)
    except WireError as problem:
        raise GraphError(f"{path} is refused: {problem}; export the bundle again") from None
    return summary


def require_ports(
    folder: Path,
    summary: GraphSummary,
    expected_inputs: Collection[str],
    expected_outputs: Collection[str],
) -> None:
    """Raise GraphError unless a checked graph has these inputs and outputs too."""
    try:
        _check_ports(summary, expected_inputs, expected_outputs)
    except WireError as problem:
        raise GraphError(
            f"{folder / GRAPH} is refused: {problem}; export the bundle again"
        ) from None


def _plain_size(path: Path) -> int:
    """Size of a plain file, never following a symbolic link."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not a file name"
        raise WireError(f"{path.name} cannot be read ({reason})") from None
    if stat.S_ISLNK(found.st_mode):
        raise WireError(f"{path.name} is a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        raise WireError(f"{path.name} is not a plain file")
    return found.st_size


def _read(path: Path, limits: GraphLimits) -> GraphSummary:
    size = _plain_size(path)
    if not 0 < size <= limits.file_bytes:
        raise WireError(f"it has {size} bytes, allowed are 1 to {limits.file_bytes}")
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return read_onnx(data, limits)
    except OSError as problem:
        raise WireError(f"it cannot be read ({problem.strerror})") from None


def _check_model(summary: GraphSummary, limits: GraphLimits) -> None:
    if summary.graphs == 0 or summary.nodes == 0:
        raise WireError("it holds no graph")
    if summary.functions:
        raise WireError(f"it defines the function {summary.functions[0][:_SHOWN]!r}; inline it")
    if summary.training:
        raise WireError("it holds a training graph")
    found = {version for name in _STANDARD for version in summary.opsets.get(name, ())}
    if len(found) != 1 or not found <= set(limits.opsets):
        named = ", ".join(map(str, sorted(found))) or "none"
        raise WireError(
            f"its opset is {named}, allowed are {limits.opsets.start} to {limits.opsets.stop - 1}"
        )
    if summary.ir_version not in limits.ir_versions:
        raise WireError(
            f"it is of IR version {summary.ir_version}, allowed are {limits.ir_versions.start} to "
            f"{limits.ir_versions.stop - 1}"
        )


def _check_operators(summary: GraphSummary) -> None:
    foreign = sorted(pair for pair in summary.operators if pair[0] not in _STANDARD)
    if foreign:
        domain, kind = foreign[0]
        raise WireError(
            f"the operator {kind[:_SHOWN]!r} is of the foreign domain {domain[:_SHOWN]!r}"
        )
    unknown = sorted(kind for _, kind in summary.operators if kind not in RULES)
    if unknown:
        raise WireError(
            f"the operator {unknown[0][:_SHOWN]!r} is none that an engine of this project has"
        )


def _check_ports(
    summary: GraphSummary, expected_inputs: Collection[str], expected_outputs: Collection[str]
) -> None:
    inputs, outputs = _names(summary.inputs, "input"), _names(summary.outputs, "output")
    weights = {weight.name for weight in summary.weights}
    if len(weights) != len(summary.weights):
        raise WireError("it has two weights of one name")
    if both := sorted(inputs & weights):
        raise WireError(f"{both[0][:_SHOWN]!r} is an input and a weight")
    if missing := sorted(set(expected_inputs) - inputs):
        raise WireError(f"the input {missing[0][:_SHOWN]!r} is missing")
    if extra := sorted(inputs - set(expected_inputs)):
        raise WireError(f"the input {extra[0][:_SHOWN]!r} is not one that the manifest binds")
    if missing := sorted(set(expected_outputs) - outputs):
        raise WireError(f"the output {missing[0][:_SHOWN]!r} is missing")


def _names(ports: list[Port], what: str) -> set[str]:
    names = {port.name for port in ports}
    if len(names) != len(ports):
        raise WireError(f"it has two {what}s of one name")
    return names


def _check_external(folder: Path, summary: GraphSummary, limits: GraphLimits) -> None:
    sizes: dict[str, int] = {}
    used: dict[str, int] = {}
    for data in summary.external:
        if data.location not in sizes:
            sizes[data.location] = _external_size(folder, data)
        end = data.offset + data.length
        if end > sizes[data.location]:
            raise WireError(
                f"the tensor {data.tensor[:_SHOWN]!r} ends at byte {end} of {data.location}, "
                f"which has {sizes[data.location]}"
            )
        used[data.location] = used.get(data.location, 0) + data.length
        if used[data.location] > sizes[data.location]:
            raise WireError(f"its tensors take more bytes of {data.location} than there are")
    if sum(sizes.values()) > limits.folder_bytes:
        raise WireError(f"its external data exceed {limits.folder_bytes} bytes")


def _external_size(folder: Path, data: ExternalData) -> int:
    name = data.location
    if not name or name in (".", "..") or any(sign in name for sign in "/\\:\0"):
        raise WireError(
            f"the tensor {data.tensor[:_SHOWN]!r} lies in {name[:_SHOWN]!r}, which is not a file "
            "beside the graph"
        )
    return _plain_size(folder / name)
