"""What a bundle holds of a task: engine, calibration, certificate and routing statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cad_edge.calibration import Calibration, decide
from cad_edge.errors import ArtifactError, OptionError
from cad_edge.routing import from_tensors
from cad_edge.store.artifact import LearnedTask, Tensors
from cad_edge.store.manifest import Certificate, Explainer, TaskEntry
from cad_edge_export.certificate import certify, measure, reference_model
from cad_edge_export.explanation import explainer_of
from cad_edge_export.fused_task import FusedTask
from cad_edge_export.fusion import names_of_levels
from cad_edge_export.fusions import fusion_of, load_fusion
from cad_edge_export.graph_files import Graph
from cad_edge_export.graphs import Graphs, made_from
from cad_edge_export.merging import merged
from cad_edge_export.missing_tasks import rgb_only_fallbacks_of
from cad_edge_export.plan import ExportPlan
from cad_edge_export.quantisation.calibration_images import read_calibration
from cad_edge_export.quantisation.evidence import require
from cad_edge_export.quantisation.quantiser import quantise
from cad_edge_export.quantisation.shared_weights import quantise_shared_weights
from cad_edge_export.quantisation.tasks import FloatTask, QuantisedTask
from cad_edge_export.stored_engine import read_tensors, store_engine, store_tensors
from cad_edge_export.trunk_sizes import TrunkSizes
from cad_edge_training.backbones import Backbone
from cad_edge_training.method import UpdatesEarlierTasks
from cad_edge_training.methods import load_method, saved_config

Progress = Callable[[str, int, int], None]


def float_entries(
    tasks: Sequence[LearnedTask],
    trunks: TrunkSizes,
    plan: ExportPlan,
    graphs: Graphs,
    progress: Progress,
) -> dict[str, TaskEntry]:
    """Export tasks in floating point; raise CertificateError where one does not hold."""
    entries = {}
    for number, task in enumerate(tasks):
        artifact = task.artifact
        progress(artifact.task, number, len(tasks) + 1)
        backbone = trunks.at(artifact.recipe)
        used, effect = merged(task, backbone) if plan.merge_shared else (task, None)
        fused = load_fusion(artifact.method, plan.layout)(used, backbone, plan.module_precision)
        exported = [graphs.of(stage) for stage in fused.stages]
        calibration = calibration_now(used, backbone)
        threshold = decide(calibration, artifact.false_reject_rate).threshold
        model = reference_model(used, backbone)
        certificate = certify(used, model, fused, exported, plan.module_precision, threshold)
        certificate = certificate.model_copy(update={"merged_shared": effect})
        words = explainer_of(task, backbone, plan, graphs)
        entries[artifact.task] = _entry(
            task, fused, exported, plan, graphs, calibration, certificate, task.routing, words
        )
    return entries


def with_rgb_only_fallbacks(
    entries: Mapping[str, TaskEntry],
    held: Mapping[str, TaskEntry],
    others: Sequence[LearnedTask],
    trunks: TrunkSizes,
    plan: ExportPlan,
    graphs: Graphs,
    progress: Progress,
) -> dict[str, TaskEntry]:
    """Give tasks what answers their frames without depth.

    Parameters
    ----------
    entries
        Every task of the bundle, as it will be.
    held
        Those of before, whose RGB-only fallbacks stay where there is no other.
    others
        Learned without depth, to be exported now, for tasks among ``entries``.

    Raises
    ------
    CertificateError
        An RGB-only fallback does not answer as torch did.
    """
    spare = rgb_only_fallbacks_of(held)
    # An RGB-only fallback is asked about frames whose product is known, by the statistics of the
    # task itself, and is not asked for words.
    known = [
        replace(task, routing=read_tensors(entries[task.artifact.task].routing, graphs.bundle))
        for task in others
    ]
    spare |= float_entries(known, trunks, replace(plan, explanations=False), graphs, progress)
    return {
        name: entry.model_copy(update={"without_depth": spare.get(name)})
        for name, entry in entries.items()
    }


def calibration_now(task: LearnedTask, backbone: Backbone) -> Calibration:
    """Return held-out scores by the model as it is now: by the newest shared weights."""
    artifact = task.artifact
    if not task.evolves:
        return artifact.calibration
    config = saved_config(artifact.task, artifact.method, artifact.hyperparameters)
    method = load_method(artifact.method)
    if not isinstance(method, UpdatesEarlierTasks):
        raise ArtifactError(
            f"{artifact.task} shares weights with other tasks, and {artifact.method} cannot score "
            "it by the newest of them"
        )
    return method.recalibrate(backbone, config, task)


def quantised_entries(
    tasks: Sequence[LearnedTask],
    trunks: TrunkSizes,
    plan: ExportPlan,
    graphs: Graphs,
    progress: Progress,
) -> dict[str, TaskEntry]:
    """Export tasks in eight bits.

    Raises
    ------
    DatasetError
        Images to measure on are missing, too few or of another product.
    OptionError
        There is nothing to round in this style.
    CertificateError
        Eight bits change the verdicts of a task too much.
    """
    if not tasks or plan.style is None or plan.calibration is None:
        return {}
    sharing = any(task.evolves for task in tasks)
    if sharing and plan.style == "int8":
        raise OptionError(
            f"{tasks[0].artifact.method} is not exported in int8, since TensorRT takes no products "
            "of integers that are quantised while they run; give --precision uint8 for a CPU, or "
            "fp16"
        )
    backbone = trunks.routing  # at one size, which all tasks of an eight-bit bundle have
    floats = _float_tasks(tasks, backbone, plan, graphs, progress)
    progress(plan.precision, len(tasks), len(tasks) + 1)
    held = graphs.quantised([stage for one in floats for stage in one.fused.stages])
    done = quantise_shared_weights(floats, held) if sharing else quantise(floats, plan.style, held)
    for name, one in done.items():
        require(one.evidence, name, plan.precision)
    for task in floats:
        _remember(task, done[task.learned.artifact.task], graphs)
    return {
        one.learned.artifact.task: _quantised_entry(
            one, done[one.learned.artifact.task], backbone, plan, graphs
        )
        for one in floats
    }


def _float_tasks(
    tasks: Sequence[LearnedTask],
    backbone: Backbone,
    plan: ExportPlan,
    graphs: Graphs,
    progress: Progress,
) -> list[FloatTask]:
    assert plan.calibration is not None and plan.style is not None
    images = read_calibration(plan.calibration, tasks, backbone)
    floats = []
    for number, task in enumerate(tasks):
        name = task.artifact.task
        progress(name, number, len(tasks) + 1)
        fused = load_fusion(task.artifact.method, plan.layout)(task, backbone, "fp32")
        exported = tuple(graphs.float_of(stage) for stage in fused.stages)
        keys = tuple(
            made_from(stage, plan.style) or f"{task.sha256} {place}"
            for place, stage in enumerate(fused.stages)
        )
        calibration = calibration_now(task, backbone)
        floats.append(FloatTask(task, fused, exported, keys, images[name], calibration))
    return floats


def _remember(task: FloatTask, quantised: QuantisedTask, graphs: Graphs) -> None:
    """Keep quantised graphs; of shared weights those in float, too, for the next task."""
    pairs = zip(task.fused.stages, task.keys, task.graphs, quantised.graphs, strict=True)
    graphs.keep(
        {
            key: new
            for stage, key, old, new in pairs
            if stage.shared_key and (task.learned.evolves or new != old)
        }
    )


def _quantised_entry(
    task: FloatTask, quantised: QuantisedTask, backbone: Backbone, plan: ExportPlan, graphs: Graphs
) -> TaskEntry:
    learned, evidence = task.learned, quantised.evidence
    certificate = measure(
        learned,
        reference_model(learned, backbone),
        quantised.fused,
        quantised.graphs,
        task.threshold,
        evidence,
    )
    return _entry(
        learned,
        quantised.fused,
        quantised.graphs,
        plan,
        graphs,
        shifted(task.calibration, evidence.score_shift, quantised.peak_shift),
        certificate,
        from_tensors(learned.routing).moved(quantised.descriptor_shift).to_tensors(),
        # A word that turns changes all that follow it, so that words stay in float altogether.
        explainer_of(learned, backbone, plan.in_float(), graphs.in_float()),
    )


def shifted(calibration: Calibration, score: float, peak: float) -> Calibration:
    """Move held-out scores and maps by what rounding moves those of good parts.

    Where maps are measured, it is at their peaks.
    """
    return calibration.model_copy(
        update={
            "scores": [value + score for value in calibration.scores],
            "map_peaks": [value + peak for value in calibration.map_peaks],
            "map_quartiles": [value + peak for value in calibration.map_quartiles],
        }
    )


def _entry(
    task: LearnedTask,
    fused: FusedTask,
    exported: Sequence[Graph],
    plan: ExportPlan,
    graphs: Graphs,
    calibration: Calibration,
    certificate: Certificate,
    routing: Tensors,
    words: Explainer | None,
) -> TaskEntry:
    artifact = task.artifact
    return TaskEntry(
        method=artifact.method,
        position=artifact.position,
        artifact=task.sha256,
        engine=store_engine(fused, exported, artifact.recipe, plan, graphs),
        routing=store_tensors(routing, graphs.bundle),
        radius=1.0,
        calibration=calibration,
        decision=decide(calibration, artifact.false_reject_rate),
        certificate=certificate,
        hyperparameters=artifact.hyperparameters,
        provenance=artifact.provenance,
        explainer=words,
        depth=artifact.depth,
        levels=names_of_levels(fusion_of(artifact.method), fused),
    )
