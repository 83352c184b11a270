"""From a torch module to an ONNX graph whose bytes depend on nothing but the module."""

import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch
from onnxscript.rewriter.rules import common

from cad_edge_export.fused_task import GraphInput, StageModule
from cad_edge_export.graph_files import GRAPH, INLINE_BYTES, Graph, put_beside

OPSET = 18
MAX_BATCH = 1024
MAX_SIZE = 1 << 20


def to_onnx(stage: StageModule, inline: int = INLINE_BYTES) -> Graph:
    """Export a stage; inputs and outputs carry their names, only named axes are dynamic.

    What torch leaves behind of the workstation (stack traces, file paths, producer version) is
    removed, so that equal modules give equal bytes.

    Parameters
    ----------
    stage
        What to export.
    inline
        Bytes of weights from which on they get a file of their own.
    """
    axes = _axes(stage.inputs)
    examples = tuple(item.example for item in stage.inputs)
    with _quiet(), _without_slow_rule():
        program = torch.onnx.export(
            stage.module.eval(),
            examples,
            input_names=[item.name for item in stage.inputs],
            output_names=list(stage.outputs),
            dynamic_shapes=_as_parameters(stage.module, axes),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model_proto
    del program  # which holds weights of its own
    cast_first(model.graph)
    clean(model)
    beside = put_beside(model, inline)
    if not beside:  # the checker wants external weights on the disk, where the certificate's run is
        onnx.checker.check_model(model)
    return {GRAPH: model.SerializeToString(deterministic=True), **beside}


def _as_parameters(
    module: torch.nn.Module, axes: tuple[dict[int, torch.export.Dim], ...]
) -> tuple[object, ...]:
    """Group axes as torch.export wants them: what ``*values`` of forward takes is one entry."""
    parameters = inspect.signature(module.forward).parameters.values()
    single = sum(one.kind is not inspect.Parameter.VAR_POSITIONAL for one in parameters)
    if single in (len(parameters), len(axes)):
        return axes
    return (*axes[:single], axes[single:])


def _axes(inputs: Sequence[GraphInput]) -> tuple[dict[int, torch.export.Dim], ...]:
    """Axes of every input whose size varies; equal names of sizes are one and the same."""
    sizes = {
        "batch": torch.export.Dim("batch", min=1, max=MAX_BATCH),
        "frames": torch.export.Dim("frames", min=1, max=MAX_BATCH),
    }

    def size(name: str) -> torch.export.Dim:
        return sizes.setdefault(name, torch.export.Dim(name, min=1, max=MAX_SIZE))

    def varying(item: GraphInput, axis: int) -> torch.export.Dim:
        if axis or not _per_frame(item.source):
            return size(f"{item.name}_{axis}")
        return size("batch") if item.views == 1 else item.views * size("frames")

    return tuple(
        {axis: varying(item, axis) for axis in item.dynamic}
        | {axis: size(name) for axis, name in item.sizes.items()}
        for item in inputs
    )


def _per_frame(source: str) -> bool:
    return not source.startswith(("tensor/", "loop/"))


def cast_first(graph: onnx.GraphProto) -> None:
    """Let every node see a uint8 input through its Cast, the only operator that TensorRT allows.

    Torch asks the image itself for the size of the batch; the cast image has the same one.
    """
    casts = {node.input[0]: node for node in graph.node if node.op_type == "Cast"}
    for value in graph.input:
        cast = casts.get(value.name)
        if cast is None or value.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
            continue
        first = onnx.NodeProto()
        first.CopyFrom(cast)
        graph.node.remove(cast)
        for node in graph.node:
            for index, name in enumerate(node.input):
                if name == value.name:
                    node.input[index] = first.output[0]
        graph.node.insert(0, first)


def strip(model: onnx.ModelProto) -> bytes:
    """Serialise without metadata, documentation, value infos and producer."""
    clean(model)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def clean(model: onnx.ModelProto) -> None:
    """Remove metadata, documentation, value infos and producer."""
    model.producer_name, model.producer_version, model.doc_string = "cad-edge", "", ""
    model.graph.doc_string, model.graph.name = "", "graph"
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    del model.functions[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    for opset in list(model.opset_import):
        if opset.domain not in ("", "ai.onnx"):
            model.opset_import.remove(opset)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks on torchvision and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _without_slow_rule() -> Iterator[None]:
    """Leave out the one rewrite whose time grows with the square of the number of nodes.

    It makes a Split of two Slices, which run as fast, and took ten minutes for a decoder of 24
    layers.
    """
    rule = common.slice_split_rule
    tried = rule.try_rewrite
    rule.try_rewrite = _never
    try:
        yield
    finally:
        rule.try_rewrite = tried


def _never(
    model: object,
    graph: object,
    node: object,
    *,
    verbose: object = None,
    tracer: object = None,
) -> None:
    """Rewrite nothing, in the place of `RewriteRule.try_rewrite`."""
