"""Graphs of one export: each is made once, however many tasks share it."""

import copy
from collections.abc import Mapping

from cad_edge import __version__
from cad_edge.schema import sha256_of
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest
from cad_edge_export.fused_task import StageModule
from cad_edge_export.graph_files import Graph
from cad_edge_export.onnx_graph import to_onnx


class Graphs:
    """Graphs of this run and of the bundle, so that tasks which share one export it once.

    A graph that the bundle holds is certified again for every new task, as a fresh one would be.
    ``style`` names the eight-bit style of the run; a stage that has an eight-bit graph then counts
    as made from it.
    """

    def __init__(self, bundle: Bundle, before: Manifest | None, style: str | None) -> None:
        self.bundle = bundle
        self._style = style
        self._known: dict[str, Graph] = {}
        self._held = {} if before is None else _held_graphs(before)

    def in_float(self) -> "Graphs":
        """Return the same graphs for what is exported in floating point within an eight-bit run."""
        other = copy.copy(self)
        other._style = None
        return other

    def of(self, stage: StageModule) -> Graph:
        """Return the graph to ship for a stage: in eight bits where there is one, else in float."""
        if self._style is not None:
            quantised = self._find(made_from(stage, self._style))
            if quantised is not None:
                return quantised
        return self.float_of(stage)

    def float_of(self, stage: StageModule) -> Graph:
        """Return the float graph of a stage."""
        key = made_from(stage)
        found = self._find(key)
        if found is None:
            found = to_onnx(stage)
            if key is not None:
                self._known[key] = found
        return found

    def quantised(self, stages: list[StageModule]) -> dict[str, Graph]:
        """Eight-bit graphs that exist already, by key, for those of ``stages`` that have one."""
        keys = [key for stage in stages if (key := made_from(stage, self._style)) is not None]
        return {key: graph for key in keys if (graph := self._find(key)) is not None}

    def keep(self, quantised: Mapping[str, Graph]) -> None:
        """Remember eight-bit graphs by key."""
        self._known.update(quantised)

    def key(self, stage: StageModule) -> str | None:
        """Key of what `of` returns."""
        quantised = made_from(stage, self._style) if self._style is not None else None
        return made_from(stage) if self._find(quantised) is None else quantised

    def _find(self, key: str | None) -> Graph | None:
        if key is None:
            return None
        if key not in self._known and key in self._held:
            self._known[key] = self.bundle.read_object(self._held[key])
        return self._known.get(key)


def made_from(stage: StageModule, style: str | None = None) -> str | None:
    """sha256 of what a shared graph is made from, this version's code included."""
    if stage.shared_key is None:
        return None
    rounding = "" if style is None else f" {style}"
    return sha256_of(f"cad-edge {__version__} {stage.shared_key}{rounding}".encode())


def _held_graphs(manifest: Manifest) -> dict[str, str]:
    words = [task.explainer for task in manifest.tasks.values() if task.explainer is not None]
    engines = [manifest.selector.engine, *(entry.engine for entry in manifest.entries())]
    engines += [explainer.engine for explainer in words]
    stages = [stage for engine in engines for stage in engine.stages]
    stages += [explainer.decoder for explainer in words]
    return {stage.made_from: stage.graph for stage in stages if stage.made_from is not None}
