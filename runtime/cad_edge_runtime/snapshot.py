"""Snapshots: one version of a bundle, opened; immutable, so that a frame in work keeps its own.

A new version takes over what it shares with the one before: sessions by the graph's sha256, tensors
by their object's. A task that was added in the shared layout therefore costs reading its tensors
and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from cad_edge.bundle import Bundle
from cad_edge.errors import BundleError, IntegrityError
from cad_edge.manifest import Engine, Manifest, Pointer, TaskEntry
from cad_edge_runtime.chain import (
    Chain,
    ChainPlan,
    StagePlan,
    Wanted,
    build_chain,
    plan_chain,
)
from cad_edge_runtime.decision import Judge, judge_of
from cad_edge_runtime.session import Array, GraphSession, SessionFactory

DISTANCE = "distance"
SCORE = "score"
ANOMALY_MAP = "anomaly_map"
PROBABILITY = "probability"
_TENSORS = "tensors.safetensors"


@dataclass(frozen=True)
class OpenTask:
    """A task that frames can be given to."""

    name: str
    chain: Chain
    judge: Judge
    entry: TaskEntry


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

    radii: tuple[float, ...]
    sessions: Mapping[str, GraphSession]
    tensors: Mapping[str, Mapping[str, object]]
    """By object, and by a list of joint ones with + between them."""

    verified: frozenset[str]
    """Objects whose bytes were found to be what their sha256 says."""


def open_snapshot(
    bundle: Bundle, pointer: Pointer, factory: SessionFactory, previous: Snapshot | None
) -> Snapshot:
    """Open the version that ``pointer`` names.

    Raises
    ------
    BundleError, GraphError, DeviceError
        Something of this version cannot be used; nothing of ``previous`` has changed.
    """
    manifest = bundle.manifest(pointer.manifest)
    opening = _Opening(bundle, factory, previous)
    selector = _selector_plan(manifest, pointer)
    plans = _task_plans(manifest)
    # The selector is run first, so it fetches what the engine of any task will want of its stages.
    wanted = _united([plan.wanted() for plan in (*plans.values(), *filter(None, [selector]))])
    tasks = {
        name: OpenTask(
            name,
            opening.chain(plan, plan.wanted(), wanted, f"task {name!r}"),
            judge_of(manifest.tasks[name]),
            manifest.tasks[name],
        )
        for name, plan in plans.items()
    }
    opened = opening.chain(selector, wanted, wanted, "the selector") if selector else None
    opening.verify(manifest.objects())
    return Snapshot(
        pointer=pointer,
        manifest=manifest,
        tasks=tasks,
        selector=opened,
        columns=tuple(manifest.selector.tasks),
        radii=tuple(manifest.tasks[name].radius for name in manifest.selector.tasks),
        sessions=opening.sessions,
        tensors=opening.tensors,
        verified=frozenset(opening.verified),
    )


def _task_plans(manifest: Manifest) -> dict[str, ChainPlan]:
    return {
        name: plan_chain(entry.engine, (SCORE,), f"task {name!r}")
        for name, entry in manifest.tasks.items()
    }


def _selector_plan(manifest: Manifest, pointer: Pointer) -> ChainPlan | None:
    unknown = [name for name in manifest.selector.tasks if name not in manifest.tasks]
    if unknown:
        raise BundleError(
            f"the selector of version {pointer.version} knows {unknown[0]!r}, which is not a task "
            "of it; export the bundle again"
        )
    if not manifest.selector.tasks:
        return None
    return plan_chain(manifest.selector.engine, (DISTANCE,), "the selector")


def _united(parts: list[Wanted]) -> Wanted:
    union: Wanted = {}
    for part in parts:
        for stage, outputs in part.items():
            union.setdefault(stage, set()).update(outputs)
    return union


def _concatenated(name: str, parts: list[Array]) -> Array:
    if len(parts) == 1:
        return parts[0]
    if len({(part.dtype, part.shape[1:]) for part in parts}) > 1:
        raise BundleError(
            f"the tensors {name!r} of joint objects do not fit together; export the bundle again"
        )
    return np.concatenate(parts)


class _Opening:
    """What is gathered while a version is opened."""

    def __init__(self, bundle: Bundle, factory: SessionFactory, previous: Snapshot | None) -> None:
        self._bundle = bundle
        self._factory = factory
        self._previous = previous
        self.sessions: dict[str, GraphSession] = {}
        self.tensors: dict[str, Mapping[str, object]] = {}
        self.verified: set[str] = set()

    def chain(self, plan: ChainPlan, fetched: Wanted, union: Wanted, owner: str) -> Chain:
        """Join ``plan`` with sessions and tensors, its own stages fetching ``fetched``."""
        # Sessions first: the first one settles the device, on which the tensors are then placed.
        sessions = [self._session(stage, sorted(union[stage.name])) for stage in plan.stages]
        return build_chain(plan, fetched, sessions, self._tensors(plan.engine), owner)

    def _session(self, stage: StagePlan, outputs: list[str]) -> GraphSession:
        known = self.sessions.get(stage.graph)
        if known is None and self._previous is not None:
            known = self._previous.sessions.get(stage.graph)
        if known is None:
            known = self._factory.create(stage.graph, stage.inputs, outputs)
            self.verified.add(stage.graph)
        else:
            known.require(stage.inputs, outputs)
        self.sessions[stage.graph] = known
        return known

    def _tensors(self, engine: Engine) -> Mapping[str, object]:
        own = self._kept([engine.tensors]) if engine.tensors is not None else {}
        return {**self._kept(engine.joint), **own} if engine.joint else own

    def _kept(self, objects: list[str]) -> Mapping[str, object]:
        """Tensors of ``objects``, read once for all engines that name the same."""
        key = "+".join(objects)
        if key not in self.tensors:
            known = self._previous.tensors.get(key) if self._previous else None
            self.tensors[key] = self._joined(objects) if known is None else known
        return self.tensors[key]

    def _joined(self, objects: list[str]) -> Mapping[str, object]:
        parts: dict[str, list[Array]] = {}
        for sha in objects:
            for name, array in self._read_tensors(sha).items():
                parts.setdefault(name, []).append(array)
        return {
            name: self._factory.place(_concatenated(name, part)) for name, part in parts.items()
        }

    def _read_tensors(self, sha: str) -> dict[str, Array]:
        data = self._bundle.read_object(sha).get(_TENSORS)
        if data is None:
            raise BundleError(f"object {sha} holds no {_TENSORS}; export the bundle again")
        try:
            arrays: dict[str, Array] = load_tensors(data)
        except SafetensorError as problem:
            raise IntegrityError(
                f"{_TENSORS} of object {sha} is broken ({problem}); export the bundle again"
            ) from None
        self.verified.add(sha)
        return arrays

    def verify(self, objects: set[str]) -> None:
        """Hash what was not read, so that a flipped byte is found on opening, wherever it is."""
        if self._previous is not None:
            self.verified.update(self._previous.verified & objects)
        for sha in sorted(objects - self.verified):
            self._bundle.verify_object(sha)
            self.verified.add(sha)
