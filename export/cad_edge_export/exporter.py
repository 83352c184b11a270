"""Adding learned tasks to a bundle: fuse, certify, store, and switch the pointer last."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cad_edge import __version__
from cad_edge.artifact import LearnedTask, Tensors, list_artifacts, read_artifact
from cad_edge.bundle import Bundle
from cad_edge.calibration import decide
from cad_edge.errors import ArtifactError, BundleError
from cad_edge.manifest import Engine, Manifest, Selector, Stage, TaskEntry
from cad_edge.routing import RoutingStatistics, from_tensors
from cad_edge.schema import sha256_of
from cad_edge.wheels import refuse_both_wheels
from cad_edge_export.certificate import certify, tensors_as_stored
from cad_edge_export.fused_task import FusedTask, Precision, StageModule
from cad_edge_export.fusions import load_fusion
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_export.selector import Kind, fuse_selector
from cad_edge_export.undo import objects_undone
from cad_edge_training.backbones import Backbone, load_backbone
from cad_edge_training.methods import load_method, saved_config
from cad_edge_training.train import key_blocks

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """How to export."""

    layout: str = "shared"
    precision: Precision = "fp32"
    selector: Kind | None = None
    """None keeps what the bundle has; a new bundle gets the discriminant."""
    backbone: str | None = None
    """Where the weights are, if the artifact's id alone does not find them."""


class _Graphs:
    """Graphs of this run and of the bundle, so that tasks which share one export it once.

    A graph that the bundle holds is certified again for every new task, as a fresh one would be.
    """

    def __init__(self, bundle: Bundle, before: Manifest | None) -> None:
        self.bundle = bundle
        self._known: dict[str, bytes] = {}
        self._held = {} if before is None else _held_graphs(before)

    def of(self, stage: StageModule) -> bytes:
        key = made_from(stage)
        if key is None:
            return to_onnx(stage)
        if key not in self._known:
            held = self._held.get(key)
            self._known[key] = (
                to_onnx(stage) if held is None else self.bundle.read_object(held)["graph.onnx"]
            )
        return self._known[key]


def made_from(stage: StageModule) -> str | None:
    """sha256 of what a shared graph is made from, this version's code included."""
    if stage.shared_key is None:
        return None
    return sha256_of(f"cad-edge {__version__} {stage.shared_key}".encode())


def _held_graphs(manifest: Manifest) -> dict[str, str]:
    engines = [manifest.selector.engine, *(entry.engine for entry in manifest.tasks.values())]
    stages = [stage for engine in engines for stage in engine.stages]
    return {stage.made_from: stage.graph for stage in stages if stage.made_from is not None}


def export_artifacts(
    artifacts: Sequence[Path], bundle_path: Path, plan: Plan, progress: Progress
) -> list[str]:
    """Add the artifacts that the bundle lacks; return the names of the tasks added.

    All of them become visible in one step, or none does.

    Parameters
    ----------
    artifacts
        Artifact folders; their order does not matter.
    bundle_path
        Folder of the bundle; made if it is not there.
    plan
        Layout, precision and selector.
    progress
        Told what is being done.

    Raises
    ------
    ArtifactError
        An artifact is broken or was learned on another backbone than the bundle's.
    BundleError
        The name is taken by another artifact, or the bundle cannot be written.
    CertificateError
        An engine does not answer as torch did.
    """
    refuse_both_wheels()
    bundle = Bundle(bundle_path)
    learned = _read_all(artifacts)  # before the lock makes a folder: a bad one leaves no trace
    with bundle.lock():
        before = bundle.manifest() if bundle.exists() else None
        new = _lacking(learned, before)
        kind = plan.selector or (before.selector.kind if before else "discriminant")
        if not new and (before is None or before.selector.kind == kind):
            return []
        backbone = _backbone(learned, before, plan)
        graphs = _Graphs(bundle, before)
        entries = dict(before.tasks) if before else {}
        with objects_undone(bundle_path):
            for number, task in enumerate(new):
                progress(task.artifact.task, number, len(new) + 1)
                entries[task.artifact.task] = _entry(task, backbone, plan, graphs)
            progress("selector", len(new), len(new) + 1)
            manifest = _manifest(bundle, before, entries, backbone, kind, plan, graphs)
        bundle.commit(manifest)
        progress("done", len(new) + 1, len(new) + 1)
    return [task.artifact.task for task in new]


def _read_all(artifacts: Sequence[Path]) -> list[LearnedTask]:
    found: dict[str, Path] = {}
    learned = []
    for path in artifacts:
        task = read_artifact(path)
        first = found.setdefault(task.artifact.task, path)
        if first != path:
            raise ArtifactError(
                f"{first} and {path} both hold the task {task.artifact.task}; keep one of them, or "
                "learn one under another name"
            )
        learned.append(task)
    return learned


def _lacking(learned: Sequence[LearnedTask], before: Manifest | None) -> list[LearnedTask]:
    new = []
    for task in sorted(learned, key=lambda one: (one.artifact.position, one.artifact.task)):
        held = before.tasks.get(task.artifact.task) if before else None
        if held is None:
            new.append(task)
        elif held.artifact != task.sha256:
            raise BundleError(
                f"the bundle holds another task {task.artifact.task} already; learn this one under "
                "another name, or export to a new bundle"
            )
    return new


def _backbone(learned: Sequence[LearnedTask], before: Manifest | None, plan: Plan) -> Backbone:
    wanted = before.backbone if before else learned[0].artifact.backbone
    for task in learned:
        found = task.artifact.backbone
        if found != wanted:
            raise ArtifactError(
                f"task {task.artifact.task} was learned on {found.id} ({found.sha256[:12]}), the "
                f"others on {wanted.id} ({wanted.sha256[:12]}); one bundle routes in one feature "
                "space, so export it to a bundle of its own"
            )
    recipes = {(one.artifact.recipe.width, one.artifact.recipe.height) for one in learned}
    if before:
        recipe = before.selector.engine.recipe
        recipes.add((recipe.width, recipe.height))
    if len(recipes) > 1:
        raise ArtifactError(
            f"the tasks were learned at different sizes ({sorted(recipes)}); one bundle routes at "
            "one size, so export them to bundles of their own"
        )
    backbone = load_backbone(plan.backbone or wanted.id, next(iter(recipes))[0])
    if backbone.identity.sha256 != wanted.sha256:
        raise ArtifactError(
            f"the weights of {wanted.id} found here ({backbone.identity.sha256[:12]}) are not "
            f"those the tasks were learned on ({wanted.sha256[:12]}); give the "
            "right ones by --backbone"
        )
    return backbone


def _entry(task: LearnedTask, backbone: Backbone, plan: Plan, graphs: _Graphs) -> TaskEntry:
    artifact = task.artifact
    config = saved_config(artifact.task, artifact.method, artifact.hyperparameters)
    fused = load_fusion(artifact.method, plan.layout)(task, backbone, plan.precision)
    module = load_method(artifact.method, "learn")
    decision = decide(artifact.calibration, artifact.false_reject_rate)
    exported = [graphs.of(stage) for stage in fused.stages]
    certificate = certify(
        task,
        module.build_model(backbone, config, task.tensors),
        fused,
        exported,
        plan.precision,
        decision.threshold,
    )
    return TaskEntry(
        method=artifact.method,
        position=artifact.position,
        artifact=task.sha256,
        engine=_store(fused, exported, artifact.recipe, plan, graphs.bundle),
        routing=graphs.bundle.add_object({"tensors.safetensors": _saved(task.routing)}),
        radius=1.0,
        calibration=artifact.calibration,
        decision=decision,
        certificate=certificate,
        hyperparameters=artifact.hyperparameters,
        provenance=artifact.provenance,
    )


def _store(
    fused: FusedTask, graphs: Sequence[bytes], recipe: object, plan: Plan, bundle: Bundle
) -> Engine:
    stages = [
        Stage(
            graph=bundle.add_object({"graph.onnx": graph}),
            inputs={item.name: item.source for item in stage.inputs},
            made_from=made_from(stage),
        )
        for stage, graph in zip(fused.stages, graphs, strict=True)
    ]
    tensors = (
        bundle.add_object({"tensors.safetensors": _saved(fused.tensors)}) if fused.tensors else None
    )
    return Engine.model_validate(
        {
            "recipe": recipe,
            "stages": stages,
            "tensors": tensors,
            "layout": plan.layout,
            "precision": plan.precision,
        }
    )


def _saved(tensors: Tensors) -> bytes:
    saved: bytes = save_tensors(tensors_as_stored(tensors))
    return saved


def _manifest(
    bundle: Bundle,
    before: Manifest | None,
    entries: dict[str, TaskEntry],
    backbone: Backbone,
    kind: Kind,
    plan: Plan,
    graphs: _Graphs,
) -> Manifest:
    statistics = {name: _routing(bundle, entry) for name, entry in entries.items()}
    task, first = min(entries.items(), key=lambda item: (item[1].position, item[0]))
    config = saved_config(task, first.method, first.hyperparameters)
    fusion = importlib.import_module(f"cad_edge_export.fusions.{first.method}")
    fused, names, radius = fuse_selector(
        kind,
        statistics,
        backbone,
        key_blocks(backbone, config)[-1],
        fusion.entry_block(backbone, config),
        plan.precision,
    )
    exported = [graphs.of(stage) for stage in fused.stages]
    shared = Plan("shared", plan.precision)
    engine = _store(fused, exported, backbone.recipe, shared, bundle)
    return Manifest(
        version=before.version + 1 if before else 1,
        previous=bundle.pointer().manifest if before else None,
        backbone=backbone.identity,
        selector=Selector(kind=kind, engine=engine, tasks=list(names)),
        tasks={
            name: entry.model_copy(update={"radius": radius})
            for name, entry in sorted(entries.items())
        },
    )


def _routing(bundle: Bundle, entry: TaskEntry) -> RoutingStatistics:
    return from_tensors(load_tensors(bundle.read_object(entry.routing)["tensors.safetensors"]))


def export_folder(folder: Path, bundle: Path, plan: Plan, progress: Progress) -> list[str]:
    """Export every artifact under ``folder``; raise ArtifactError if there is none."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder of artifacts; learn tasks into it first")
    found = list_artifacts(folder)
    if not found:
        raise ArtifactError(
            f"{folder} holds no artifact; run `cad-edge train --out {folder}` first"
        )
    return export_artifacts(found, bundle, plan, progress)
