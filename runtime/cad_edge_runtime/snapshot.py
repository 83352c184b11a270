"""Snapshots: one version of a bundle, opened; immutable, so that a frame in work keeps its own.

A new version takes over what it shares with the one before (``opening.py``). A task that was added
in the shared layout therefore costs reading its tensors and nothing else. What answers in words is
opened when it is first asked (``explaining.py``); its bytes are verified with all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest, Pointer, TaskEntry
from cad_edge_runtime.chain import Chain, ChainPlan
from cad_edge_runtime.decision import Judge, judge_of
from cad_edge_runtime.explaining import Explainers
from cad_edge_runtime.opening import Opening, OpenParts, united
from cad_edge_runtime.preparation import prepared_version
from cad_edge_runtime.selection import TaskDistances, reach_of
from cad_edge_runtime.session import SessionFactory


@dataclass(frozen=True)
class OpenTask:
    """A task that frames can be given to."""

    name: str
    chain: Chain
    judge: Judge
    entry: TaskEntry
    without_depth: "OpenTask | None" = None
    """What answers frames that have no depth, where ``chain`` needs it."""

    def for_frame(self, depth: bool) -> "OpenTask":
        """Return what answers a frame, which may have depth or not."""
        missing = self.chain.depth is not None and not depth
        return self.without_depth if missing and self.without_depth is not None else self


@dataclass(frozen=True)
class Snapshot:
    """An opened version."""

    pointer: Pointer
    manifest: Manifest
    tasks: Mapping[str, OpenTask]
    selector: Chain | None
    """None while there is no task to choose."""

    columns: tuple[str, ...]
    """Task of each column of the selector's distances."""

    reaches: tuple[TaskDistances, ...]
    """Of each of these tasks, how far its frames lie."""

    held: OpenParts
    explainers: Explainers

    @property
    def views(self) -> int:
        """Pictures of a frame."""
        return self.manifest.selector.engine.views


def open_snapshot(
    bundle: Bundle, pointer: Pointer, factory: SessionFactory, previous: Snapshot | None
) -> Snapshot:
    """Open the version that ``pointer`` names.

    Raises
    ------
    BundleError, GraphError, DeviceError
        Something of this version cannot be used; nothing of ``previous`` has changed.
    """
    prepared = prepared_version(bundle, pointer, factory.inventory)
    manifest, selector = prepared.manifest, prepared.selector
    opening = Opening(bundle, factory, previous.explainers.held if previous else OpenParts())
    tasks, plans, spare = manifest.tasks, prepared.tasks, prepared.without_depth
    rest = {name: entry.without_depth for name, entry in tasks.items() if entry.without_depth}
    # The selector is run first, so it fetches what the engine of any task will want of its stages.
    known = (*plans.values(), *spare.values(), *filter(None, [selector]))
    wanted = united([plan.wanted() for plan in known])

    def opened_task(name: str, entry: TaskEntry, plan: ChainPlan) -> OpenTask:
        chain = opening.chain(plan, plan.wanted(), wanted, f"task {name!r}")
        return OpenTask(name, chain, judge_of(entry), entry)

    rgb_only = {name: opened_task(name, rest[name], plan) for name, plan in spare.items()}
    open_tasks = {
        name: replace(opened_task(name, tasks[name], plan), without_depth=rgb_only.get(name))
        for name, plan in plans.items()
    }
    opened = opening.chain(selector, wanted, wanted, "the selector") if selector else None
    opening.verify(manifest.objects())
    factory.inventory.keep(manifest.objects())
    held = opening.held()
    before = previous.explainers if previous else None
    return Snapshot(
        pointer=pointer,
        manifest=manifest,
        tasks=open_tasks,
        selector=opened,
        columns=tuple(manifest.selector.tasks),
        reaches=tuple(reach_of(manifest.tasks[name]) for name in manifest.selector.tasks),
        held=held,
        explainers=Explainers(bundle, factory, prepared, held, before),
    )
