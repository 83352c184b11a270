"""Adding learned tasks to a bundle: fuse, certify, store, and switch the pointer last."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cad_edge.errors import ArtifactError, BundleError, OptionError
from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge.recognition import recognised
from cad_edge.routing import from_tensors
from cad_edge.schema import Record
from cad_edge.store.artifact import LearnedTask, list_artifacts
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest, Pointer, Selector, SelectorKind, TaskEntry
from cad_edge.store.signature import Signer
from cad_edge_export.discard_on_failure import discard_on_failure
from cad_edge_export.entries import (
    Progress,
    float_entries,
    quantised_entries,
    with_rgb_only_fallbacks,
)
from cad_edge_export.fusions import fusion_of, require_capabilities
from cad_edge_export.graphs import Graphs
from cad_edge_export.held_bundle import require_held, require_openable, require_own_folder
from cad_edge_export.key_block import require_one_key_block
from cad_edge_export.missing_tasks import (
    missing_tasks,
    read_all,
    require_one_trunk,
    rgb_only_fallbacks,
    with_shared_weights,
)
from cad_edge_export.plan import ExportPlan
from cad_edge_export.selector import fuse_selector
from cad_edge_export.soundness import require_readable, require_spread
from cad_edge_export.stored_engine import read_tensors, store_engine
from cad_edge_export.trunk_sizes import check_one_size, trunk_sizes
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods import saved_config
from cad_edge_training.routing_statistics import key_blocks


def export_artifacts(
    artifacts: Sequence[Path],
    bundle_path: Path,
    plan: ExportPlan,
    progress: Progress,
    without_depth: Sequence[Path] = (),
    signer: Signer | None = None,
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
    without_depth
        Artifact folders of the same tasks, learned without depth, for frames that have none. Those
        that the bundle has for other tasks stay.
    signer
        Signs the version; None: it is unsigned.

    Raises
    ------
    ArtifactError
        An artifact is broken, was learned on another backbone than the bundle's or from pictures
        that do not differ, or one of ``without_depth`` stands for no task of the bundle or looks at
        depth.
    BundleError, GraphError
        The name is taken by another artifact, the bundle cannot be written, its folder holds
        something else, or a device would
        refuse what it holds.
    CertificateError
        An engine does not answer as torch did.
    OptionError
        A task looks at depth, or at another size than the selector, and the plan is of eight bits;
        or tasks have key sets of several blocks.
    """
    load_onnxruntime()
    bundle = Bundle(bundle_path)
    require_own_folder(bundle)
    bundle.require_signer(signer)
    learned, spare = read_all(artifacts), read_all(without_depth)
    require_capabilities([*learned, *spare], plan.style, plan.merge_shared)
    # Before the lock makes a folder, so that what is refused leaves no trace; and under the lock,
    # since another export may have come between.
    _pending(bundle, learned, spare, plan)
    with bundle.lock():
        base, before, kind, new, changed, others = _pending(bundle, learned, spare, plan)
        if not _changes(before, kind, new, others):
            return []
        held = dict(before.tasks) if before else {}
        trunks = trunk_sizes(learned, before, plan)
        require_one_trunk(others, trunks.routing)
        require_one_key_block(kind, before, new, trunks.routing)
        graphs = Graphs(bundle, before, plan.style)
        with discard_on_failure(bundle_path):
            make = float_entries if plan.style is None else quantised_entries
            made = make(changed, trunks, plan, graphs, progress)
            entries = with_rgb_only_fallbacks(
                held | made, held, others, trunks, plan, graphs, progress
            )
            progress("selector", len(changed), len(changed) + 1)
            manifest = _manifest(bundle, base, entries, trunks.routing, kind, plan, graphs)
            require_readable(manifest)
            require_openable(bundle, manifest)
        bundle.commit(manifest, signer)
        progress("done", len(changed) + 1, len(changed) + 1)
    return [task.artifact.task for task in new]


class PendingExport(NamedTuple):
    """What an export has to make."""

    base: Pointer | None
    """The version that is built on, None where there is none yet."""
    before: Manifest | None
    """Of the bundle, None where there is none yet."""
    kind: SelectorKind
    """Of the selector."""
    new: list[LearnedTask]
    """Tasks that the bundle lacks."""
    changed: list[LearnedTask]
    """Those, and older ones that share weights with them."""
    others: list[LearnedTask]
    """RGB-only fallbacks."""


def _pending(
    bundle: Bundle, learned: Sequence[LearnedTask], spare: Sequence[LearnedTask], plan: ExportPlan
) -> PendingExport:
    """Find what has to be made; raise what `export_artifacts` does where it cannot be."""
    require_held(bundle)
    base = bundle.pointer() if bundle.exists() else None
    before = None if base is None else bundle.manifest(base)
    held = dict(before.tasks) if before else {}
    new = missing_tasks(learned, held)
    changed = with_shared_weights(new, learned, held)
    others = rgb_only_fallbacks(spare, learned, before)
    kind = plan.selector or (before.selector.kind if before else "discriminant")
    if _changes(before, kind, new, others):
        require_spread([*changed, *others])
        _check_precision(before, new, plan)
    return PendingExport(base, before, kind, new, changed, others)


def _changes(
    before: Manifest | None,
    kind: SelectorKind,
    new: Sequence[LearnedTask],
    others: Sequence[LearnedTask],
) -> bool:
    """Whether there is anything to make."""
    return bool(new or others) or (before is not None and before.selector.kind != kind)


def _check_precision(before: Manifest | None, new: Sequence[LearnedTask], plan: ExportPlan) -> None:
    """Refuse tasks that cannot be in one bundle in the precision of the plan."""
    _check_held(before, plan)
    if plan.style is not None:
        _check_entries(before, new, plan)
        _check_depth(new, plan)
        check_one_size(new, plan)


def _check_held(before: Manifest | None, plan: ExportPlan) -> None:
    """Eight-bit descriptors are not those of the float trunk, and one bundle routes by one."""
    held = {entry.engine.precision for entry in before.tasks.values()} if before else set()
    if held - {plan.precision} and (held | {plan.precision}) & {"int8", "uint8"}:
        raise BundleError(
            f"the bundle's engines are {' and '.join(sorted(held))}, and eight bits do not mix; "
            f"export with that --precision, or all tasks to a new bundle with {plan.precision}"
        )


def _check_entries(before: Manifest | None, new: Sequence[LearnedTask], plan: ExportPlan) -> None:
    """In eight bits the entry is in float where weights are shared; one bundle has one entry."""
    evolves = {task.artifact.method: task.evolves for task in new}
    for entry in before.tasks.values() if before else ():
        evolves[entry.method] = entry.certificate.drift is not None
    if len(set(evolves.values())) > 1:
        raise BundleError(
            f"{' and '.join(sorted(evolves))} do not share a bundle in {plan.precision}, where one "
            "recognises products in float and the other does not; export each to its own"
        )


def _check_depth(new: Sequence[LearnedTask], plan: ExportPlan) -> None:
    """Eight bits are measured on images alone, so that what looks at depth has no evidence."""
    for task in new:
        if task.artifact.depth is not None:
            raise OptionError(
                f"the task {task.artifact.task} looks at depth, and {plan.precision} is measured "
                "on images alone; give --precision fp32 or fp16"
            )


def _manifest(
    bundle: Bundle,
    base: Pointer | None,
    entries: dict[str, TaskEntry],
    backbone: Backbone,
    kind: SelectorKind,
    plan: ExportPlan,
    graphs: Graphs,
) -> Manifest:
    statistics = {
        name: from_tensors(read_tensors(entry.routing, bundle)) for name, entry in entries.items()
    }
    first, config = _first(entries)
    fusion = fusion_of(first.method)
    fused, radii = fuse_selector(
        kind,
        statistics,
        backbone,
        key_blocks(backbone, config)[-1],
        fusion.entry(backbone, config, plan.module_precision),
        plan.module_precision,
        first.engine.views,
    )
    exported = [graphs.of(stage) for stage in fused.stages]
    shared = plan.for_all_tasks()
    engine = store_engine(fused, exported, backbone.recipe, shared, graphs)
    return Manifest(
        version=base.version + 1 if base else 1,
        previous=base.manifest if base else None,
        backbone=backbone.identity,
        selector=Selector(kind=kind, engine=engine, tasks=list(radii)),
        tasks={name: recognised(entry, radii[name]) for name, entry in sorted(entries.items())},
    )


def _first(entries: Mapping[str, TaskEntry]) -> tuple[TaskEntry, Record]:
    """Return the first task whose options this version reads, with them.

    Products that an earlier version learned stay in a bundle as they are; all that the selector
    takes from a task's options is where its first stage ends, and that is one for all of them.
    """
    ordered = sorted(entries.items(), key=lambda item: (item[1].position, item[0]))
    for name, entry in ordered:
        try:
            return entry, saved_config(name, entry.method, entry.hyperparameters)
        except ArtifactError:
            continue
    name, entry = ordered[0]
    return entry, saved_config(name, entry.method, entry.hyperparameters)


def export_folder(
    folder: Path,
    bundle: Path,
    plan: ExportPlan,
    progress: Progress,
    without_depth: Path | None = None,
    signer: Signer | None = None,
) -> list[str]:
    """Export every artifact under ``folder``, with RGB-only fallbacks from ``without_depth``.

    Parameters, result and errors are those of `export_artifacts`; ArtifactError where a folder
    holds no artifact.
    """
    spare = [] if without_depth is None else _listed(without_depth)
    return export_artifacts(_listed(folder), bundle, plan, progress, spare, signer)


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder of artifacts; learn tasks into it first")
    found = list_artifacts(folder)
    if not found:
        if (folder / "bundle.json").exists():
            raise ArtifactError(
                f"{folder} is a bundle; give the folder of artifacts that `cad-edge train` wrote"
            )
        raise ArtifactError(
            f"{folder} holds no artifact; run `cad-edge train --out {folder}` first"
        )
    return found
