"""Engines in a bundle: the objects of a fused task, and the record that names them."""

from collections.abc import Sequence

from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cad_edge.store.artifact import Tensors
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Engine, Stage
from cad_edge_export.certificate import tensors_as_stored
from cad_edge_export.fused_task import FusedTask, StageModule
from cad_edge_export.graph_files import Graph
from cad_edge_export.graphs import Graphs
from cad_edge_export.plan import ExportPlan


def store_engine(
    fused: FusedTask, exported: Sequence[Graph], recipe: object, plan: ExportPlan, graphs: Graphs
) -> Engine:
    """Write the objects of an engine and describe it."""
    bundle = graphs.bundle
    pairs = zip(fused.stages, exported, strict=True)
    return Engine.model_validate(
        {
            "recipe": recipe,
            "views": fused.views,
            "stages": [store_stage(stage, graph, graphs) for stage, graph in pairs],
            "tensors": store_tensors(fused.tensors, bundle) if fused.tensors else None,
            "joint": [store_tensors(one, bundle) for one in fused.joint],
            "layout": plan.layout,
            "precision": plan.precision,
        }
    )


def store_stage(stage: StageModule, graph: Graph, graphs: Graphs) -> Stage:
    """Write the graph of a stage and describe it."""
    return Stage(
        graph=graphs.bundle.add_object(graph),
        inputs={item.name: item.source for item in stage.inputs},
        made_from=graphs.key(stage),
    )


def store_tensors(tensors: Tensors, bundle: Bundle) -> str:
    """Write an object of tensors; equal ones give equal bytes."""
    return bundle.add_object({"tensors.safetensors": save_tensors(tensors_as_stored(tensors))})


def read_tensors(sha: str, bundle: Bundle) -> Tensors:
    """Read what `store_tensors` wrote."""
    tensors: Tensors = load_tensors(bundle.read_object(sha)["tensors.safetensors"])
    return tensors
