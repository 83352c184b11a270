"""Versions with any number of tasks, made of a bundle alone: tasks left out, and resampled copies.

A copy has objects of its own and costs what a real task costs, on the disk, in memory and in the
selector: its largest tensor is the original's with the last digits moved (many_tasks.py), and its
routing statistics are those of a bootstrap sample of the descriptors that the original keeps. The
selector is fitted anew to the statistics of exactly the tasks of a version, as the exporter does
it, without torch: its graph takes any number of tasks. A frame may be recognised as any of a
product's copies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cad_edge.errors import OptionError
from cad_edge.recognition import recognised
from cad_edge.routing import RoutingStatistics, fit_discriminant, from_tensors
from cad_edge.store.artifact import Tensors
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest, Pointer, Selector, TaskEntry
from cad_edge_benchmarks.instruments.many_tasks import nearly_equal, scaled

_FILE = "tensors.safetensors"
_KEY_NOISE = 1e-3  # by which the keys of a copy differ, relative


class SelectorFit(Protocol):
    """What a selector knows of each task."""

    def copy(self, original: str, name: str, rng: np.random.Generator) -> Tensors:
        """Add a resampled ``original`` under ``name``; return its routing tensors."""
        ...

    def tensors(self, names: Sequence[str]) -> tuple[Tensors, Mapping[str, float]]:
        """Tensors of a selector of ``names``, sorted, and the sure distances that change."""
        ...


class DiscriminantFit:
    """Routing statistics by task, for the selector ``discriminant``."""

    def __init__(self, statistics: dict[str, RoutingStatistics]) -> None:
        self._statistics = statistics

    def copy(self, original: str, name: str, rng: np.random.Generator) -> Tensors:
        """Resample the kept descriptors with replacement; the mean moves by as much as theirs."""
        source = self._statistics[original]
        count = len(source.samples)
        drawn = rng.integers(0, count, count)
        samples = source.samples[drawn]
        moved = samples.mean(axis=0, dtype=np.float64) - source.samples.mean(
            axis=0, dtype=np.float64
        )
        means, sizes = source.group_means, source.group_counts
        found = replace(
            source,
            mean=source.mean + moved,
            samples=samples,
            group_means=None if means is None else means[drawn],
            group_counts=None if sizes is None else sizes[drawn],
        )
        self._statistics[name] = found
        return found.to_tensors()

    def tensors(self, names: Sequence[str]) -> tuple[Tensors, Mapping[str, float]]:
        """SelectorFit the discriminant of ``names``."""
        fitted = fit_discriminant({name: self._statistics[name] for name in names})
        return fitted.to_tensors(), dict(zip(fitted.tasks, fitted.radii, strict=True))


class KeySetFit:
    """Keys by task, for the selector ``key_set``, whose radii stay as they were exported."""

    def __init__(self, keys: dict[str, np.ndarray], routing: dict[str, Tensors]) -> None:
        self._keys, self._routing = keys, routing

    def copy(self, original: str, name: str, rng: np.random.Generator) -> Tensors:
        """Move every number of the keys by about a thousandth."""
        keys = self._keys[original]
        self._keys[name] = (keys * rng.normal(1, _KEY_NOISE, keys.shape)).astype(keys.dtype)
        return scaled(self._routing[original], float(rng.normal(1, _KEY_NOISE)))

    def tensors(self, names: Sequence[str]) -> tuple[Tensors, Mapping[str, float]]:
        """Stack the keys of ``names``."""
        return {"keys": np.stack([self._keys[name] for name in names])}, {}


class VersionMaker:
    """A copy of a bundle into which versions with other tasks are put."""

    def __init__(self, source: Path, place: Path, seed: int, keeps_radius: bool) -> None:
        """Copy what the version in force names.

        Parameters
        ----------
        source
            Bundle; only read.
        place
            New folder for the copy.
        seed
            Of the resampling.
        keeps_radius
            Whether tasks keep the radius they have, as those of a version that accepts all must.
        """
        original = Bundle(source)
        self.path = place
        self._bundle = Bundle(place)
        self._source = original.manifest()
        self._keeps_radius = keeps_radius
        self._rng = np.random.default_rng(seed)
        for sha in sorted(self._source.objects()):
            self._bundle.add_object_folder(original.verify_object(sha))
        self._fit = _fit_of(self._bundle, self._source)
        self._entries = dict(self._source.tasks)
        self._learned = sorted(self._entries, key=lambda name: (self._entries[name].position, name))

    @property
    def learned(self) -> tuple[str, ...]:
        """Real tasks in the order in which they were learned."""
        return tuple(self._learned)

    def names(self, count: int, first: str) -> tuple[str, ...]:
        """Name ``count`` tasks: ``first``, other real ones, then copies, made if need be.

        Raises
        ------
        OptionError
            Copies are needed and every task is baked into a graph of its own.
        """
        names = [first, *(name for name in self._learned if name != first)][:count]
        for number in range(len(names), count):
            names.append(self._copy(number))
        return tuple(names)

    def commit(self, names: Sequence[str]) -> Pointer:
        """Put a version with exactly these tasks in force, its selector fitted to them."""
        columns = sorted(names)
        tensors, sure = self._fit.tensors(columns)
        before = self._bundle.pointer() if self._bundle.exists() else None
        engine = self._source.selector.engine.model_copy(
            update={"tensors": self._bundle.add_object({_FILE: save_tensors(tensors)})}
        )
        entries = {name: self._entries[name] for name in columns}
        if not self._keeps_radius:
            entries |= {name: recognised(entries[name], radius) for name, radius in sure.items()}
        manifest = Manifest(
            version=before.version + 1 if before else 1,
            previous=before.manifest if before else None,
            backbone=self._source.backbone,
            selector=Selector(kind=self._source.selector.kind, engine=engine, tasks=columns),
            tasks=entries,
        )
        with self._bundle.lock():
            return self._bundle.commit(manifest)

    def _copy(self, number: int) -> str:
        """Make the copy that is task ``number`` in the order of learning, unless it is there."""
        shared = [name for name in self._learned if self._source.tasks[name].engine.tensors]
        if not shared:
            raise OptionError(
                "copies of tasks are made of bundles in the layout shared, and every task of this "
                "one is fused into a graph of its own; export with --layout shared"
            )
        original = shared[number % len(shared)]
        name = f"{original[:56]}-{number:06d}"
        if name not in self._entries:
            self._entries[name] = self._entry(original, name, number)
        return name

    def _entry(self, original: str, name: str, number: int) -> TaskEntry:
        entry = self._source.tasks[original]
        assert entry.engine.tensors is not None
        tensors = nearly_equal(_read(self._bundle, entry.engine.tensors), number)
        routing = self._fit.copy(original, name, self._rng)
        engine = entry.engine.model_copy(
            update={"tensors": self._bundle.add_object({_FILE: save_tensors(tensors)})}
        )
        unproven = f"none: a copy of {original} by cad-edge benchmark"
        return entry.model_copy(
            update={
                "position": number,
                "engine": engine,
                "routing": self._bundle.add_object({_FILE: save_tensors(routing)}),
                "certificate": entry.certificate.model_copy(update={"reference": unproven}),
            }
        )


def _fit_of(bundle: Bundle, manifest: Manifest) -> SelectorFit:
    routing = {name: _read(bundle, entry.routing) for name, entry in manifest.tasks.items()}
    selector = manifest.selector
    if selector.kind == "discriminant":
        return DiscriminantFit({name: from_tensors(found) for name, found in routing.items()})
    assert selector.engine.tensors is not None
    keys = _read(bundle, selector.engine.tensors)["keys"]
    return KeySetFit(dict(zip(selector.tasks, keys, strict=True)), routing)


def _read(bundle: Bundle, sha: str) -> Tensors:
    """Tensors of an object that holds one file."""
    (data,) = bundle.read_object(sha).values()
    found: Tensors = load_tensors(data)
    return found
