"""The rig that a scenario runs on: the bundle, its frames, and how long to measure."""

from dataclasses import dataclass
from pathlib import Path

from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.frames import Pictures
from cad_edge_benchmarks.instruments.timing import Pace
from cad_edge_runtime import Detector
from cad_edge_runtime.session import SessionFactory
from cad_edge_runtime.snapshot import Snapshot, open_snapshot


@dataclass(frozen=True)
class Rig:
    """Everything that a scenario needs; scenarios open the bundle on their own."""

    bundle: Path
    pictures: Pictures
    pace: Pace
    device: str
    threads: int
    """Of each graph."""
    threads_asked: bool
    """Whether the user stated them; else a scenario with several callers divides the cores."""
    streams: int
    tasks: tuple[int, ...]
    """Of the scenario scale."""
    seed: int
    place: Path
    """Folder for what is made on the way; the bundle itself is never written to."""

    def open(self, bundle: Path | None = None, threads: int | None = None) -> Detector:
        """Open the bundle, or another one, without watching it."""
        return Detector.open(
            bundle or self.bundle, self.device, threads or self.threads, watch=False
        )

    def snapshot(self, bundle: Path | None = None, previous: Snapshot | None = None) -> Snapshot:
        """Open the version in force, sharing sessions and tensors with ``previous``."""
        store = Bundle(bundle or self.bundle)
        factory = SessionFactory(self.device, self.threads, store)
        return open_snapshot(store, store.pointer(), factory, previous)
