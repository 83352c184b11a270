"""Words in a bundle: the objects by which a task answers questions, and their record."""

from cad_edge.store.artifact import LearnedTask
from cad_edge.store.manifest import Explainer
from cad_edge_export.explanation_certificate import certify_explanation
from cad_edge_export.fusion import Explains
from cad_edge_export.fusions import fusion_of
from cad_edge_export.graphs import Graphs
from cad_edge_export.plan import ExportPlan
from cad_edge_export.stored_engine import store_engine, store_stage, store_tensors
from cad_edge_training.backbones import Backbone


def explainer_of(
    task: LearnedTask, backbone: Backbone, plan: ExportPlan, graphs: Graphs
) -> Explainer | None:
    """Store what a task answers in words with, once it says what torch says.

    None where the method's fusion has no function ``explained``, or the plan leaves words out.

    Raises
    ------
    CertificateError
        It does not.
    """
    fusion = fusion_of(task.artifact.method)
    if not plan.explanations or not isinstance(fusion, Explains):
        return None
    made = fusion.explained(task, backbone, plan.module_precision)
    bundle = graphs.bundle
    exported = [graphs.of(stage) for stage in made.engine.stages]
    decoder = graphs.of(made.decoder)
    certificate = certify_explanation(task, made, exported, decoder, plan.module_precision)
    # Words are written by graphs that all tasks share, whatever the layout of the decision.
    shared = plan.for_all_tasks()
    return Explainer(
        engine=store_engine(made.engine, exported, task.artifact.recipe, shared, graphs),
        tokens=made.tokens,
        decoder=store_stage(made.decoder, decoder, graphs),
        layers=made.layers,
        kv_heads=made.kv_heads,
        head_width=made.head_width,
        positions=made.positions,
        embedding=store_tensors(made.embedding, bundle),
        tokenizer=bundle.add_object({"tokenizer.json": made.tokenizer}),
        texts=made.texts,
        certificate=certificate,
    )
