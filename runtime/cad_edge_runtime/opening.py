"""Opening: graphs and tensors of a version, made ready once and taken over by the next.

Sessions are known by the graph's sha256, tensors by their object's. What a version shares with what
is open already is neither read nor loaded again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cad_edge.errors import BundleError, DeviceError, IntegrityError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Engine
from cad_edge.store.objects import object_sha256
from cad_edge_runtime.chain import Chain, ChainPlan, StagePlan, Wanted, build_chain
from cad_edge_runtime.session import Array, GraphSession, SessionFactory
from cad_edge_runtime.tensor_file import TENSORS


@dataclass(frozen=True)
class OpenParts:
    """What is open and can be taken over."""

    sessions: Mapping[str, GraphSession] = field(default_factory=dict)
    """By graph."""

    tensors: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """By object, and by a list of joint ones with + between them."""

    verified: frozenset[str] = frozenset()
    """Objects whose bytes were found to be what their sha256 says."""

    def of(self, objects: set[str]) -> "OpenParts":
        """Return what belongs to ``objects`` alone."""
        return OpenParts(
            {sha: session for sha, session in self.sessions.items() if sha in objects},
            {key: held for key, held in self.tensors.items() if objects.issuperset(key.split("+"))},
            self.verified & objects,
        )

    def beside(self, other: "OpenParts") -> "OpenParts":
        """Return what either holds, ``self`` first."""
        return OpenParts(
            {**other.sessions, **self.sessions},
            {**other.tensors, **self.tensors},
            other.verified | self.verified,
        )


class Opening:
    """What is gathered while something of a bundle is opened."""

    def __init__(self, bundle: Bundle, factory: SessionFactory, before: OpenParts) -> None:
        self._bundle = bundle
        self._factory = factory
        self._before = before
        self._sessions: dict[str, GraphSession] = {}
        self._tensors: dict[str, Mapping[str, object]] = {}
        self._verified: set[str] = set()

    def held(self) -> OpenParts:
        """Return what was opened or taken over so far."""
        return OpenParts(dict(self._sessions), dict(self._tensors), frozenset(self._verified))

    def chain(self, plan: ChainPlan, fetched: Wanted, union: Wanted, owner: str) -> Chain:
        """Join ``plan`` with sessions and tensors, its own stages fetching ``fetched``."""
        # Sessions first: the first one settles the device, on which the tensors are then placed.
        sessions = [self.session(stage, sorted(union[stage.name])) for stage in plan.stages]
        return build_chain(plan, fetched, sessions, self.tensors(plan.engine), owner)

    def session(self, stage: StagePlan, outputs: Sequence[str]) -> GraphSession:
        """Session of a stage's graph, which must give ``outputs``."""
        known = self._sessions.get(stage.graph) or self._before.sessions.get(stage.graph)
        if known is None:
            known = self._factory.create(stage.graph, stage.inputs, outputs)
            self._verified.add(stage.graph)
        else:
            known.require(stage.inputs, outputs)
        self._sessions[stage.graph] = known
        return known

    def tensors(self, engine: Engine) -> Mapping[str, object]:
        """Tensors of an engine by name, where the graphs run."""
        own = self._kept([engine.tensors]) if engine.tensors is not None else {}
        return {**self._kept(engine.joint), **own} if engine.joint else own

    def _kept(self, objects: list[str]) -> Mapping[str, object]:
        """Tensors of ``objects``, read once for all engines that name the same."""
        key = "+".join(objects)
        if key not in self._tensors:
            known = self._before.tensors.get(key)
            self._tensors[key] = self._joined(objects) if known is None else known
        return self._tensors[key]

    def _joined(self, objects: list[str]) -> Mapping[str, object]:
        parts: dict[str, list[Array]] = {}
        for sha in objects:
            for name, array in self._read_tensors(sha).items():
                parts.setdefault(name, []).append(array)
        return {
            name: self._factory.place(_concatenated(name, part)) for name, part in parts.items()
        }

    def _read_tensors(self, sha: str) -> dict[str, Array]:
        file = self._factory.inventory.tensors(sha)
        try:
            arrays, found = file.read()
        except MemoryError:
            raise DeviceError(
                f"there is too little memory for the {file.bytes >> 20} MiB of {file.path}; end "
                "other programs, or use a device with more"
            ) from None
        alone = [path.name for path in file.path.parent.iterdir()] == [TENSORS]
        if object_sha256({TENSORS: found}) != sha or not alone:
            self._bundle.verify_object(sha)  # says what has changed, or that more lies beside it
            raise IntegrityError(f"{file.path} changed while it was being read; open it again")
        self._verified.add(sha)
        return arrays

    def verify(self, objects: set[str]) -> None:
        """Hash what was not read, so that a flipped byte is found on opening, wherever it is."""
        self._verified.update(self._before.verified & objects)
        for sha in sorted(objects - self._verified):
            self._factory.inventory.hashed(sha)
            self._verified.add(sha)


def _concatenated(name: str, parts: list[Array]) -> Array:
    if len(parts) == 1:
        return parts[0]
    if len({(part.dtype, part.shape[1:]) for part in parts}) > 1:
        raise BundleError(
            f"the tensors {name!r} of joint objects do not fit together; export the bundle again"
        )
    return np.concatenate(parts)


def united(parts: Sequence[Wanted]) -> Wanted:
    """Return the outputs that any of ``parts`` uses."""
    union: Wanted = {}
    for part in parts:
        for stage, outputs in part.items():
            union.setdefault(stage, set()).update(outputs)
    return union
