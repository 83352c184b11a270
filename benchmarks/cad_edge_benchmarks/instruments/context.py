"""The context that a scenario runs in: the bundle, its frames, and how it is measured."""

from dataclasses import dataclass
from pathlib import Path

from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.conditions import BenchmarkSettings
from cad_edge_benchmarks.instruments.frames import ShownFrames
from cad_edge_benchmarks.instruments.timing import TimingPlan
from cad_edge_runtime import Detector
from cad_edge_runtime.session import SessionFactory
from cad_edge_runtime.snapshot import Snapshot, open_snapshot


@dataclass(frozen=True)
class BenchmarkContext:
    """Everything that a scenario needs; scenarios open the bundle on their own."""

    bundle: Path
    frames: ShownFrames
    settings: BenchmarkSettings
    threads_asked: bool
    """Whether the user stated them; else a scenario with several callers divides the cores."""
    place: Path
    """Folder for what is made on the way; the bundle itself is never written to."""

    @property
    def plan(self) -> TimingPlan:
        """How long to measure."""
        return TimingPlan(self.settings.seconds, self.settings.samples)

    def open(self, bundle: Path | None = None, threads: int | None = None) -> Detector:
        """Open the bundle, or another one, without watching it."""
        threads = threads or self.settings.threads
        return Detector.open(bundle or self.bundle, self.settings.device, threads, watch=False)

    def snapshot(self, bundle: Path | None = None, previous: Snapshot | None = None) -> Snapshot:
        """Open the version in force, sharing sessions and tensors with ``previous``."""
        store = Bundle(bundle or self.bundle)
        factory = SessionFactory(self.settings.device, self.settings.threads, store)
        return open_snapshot(store, store.pointer(), factory, previous)
