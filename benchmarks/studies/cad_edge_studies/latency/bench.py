"""The test bench: bundles of three and of many tasks, and what is measured on them."""

import itertools
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from cad_edge.data.image import Frame
from cad_edge.store.artifact import read_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.command_runner import export, folder_bytes
from cad_edge_benchmarks.instruments.hot_reload import PickUp, Versions, measure_pick_up
from cad_edge_benchmarks.instruments.interleaved_timing import (
    Latency,
    Ratio,
    latency_of,
    ratio_of,
    take_turns,
)
from cad_edge_benchmarks.instruments.many_tasks import multiply_artifacts
from cad_edge_benchmarks.instruments.probe import Probe, probe_often
from cad_edge_runtime import Detector
from cad_edge_studies.latency.bare_trunk import open_trunk

_PROBES = 5
_OPENINGS = 5
_PICK_UPS = 20


@dataclass(frozen=True)
class Turns:
    """Routed frames, frames with the task given and the bare trunk, in turns."""

    routed: Latency
    given: Latency
    trunk: Latency
    routed_to_trunk: Ratio
    given_to_trunk: Ratio
    routed_to_given: Ratio
    verdicts: dict[str, int]
    """Of the frames that were timed; a refused frame would be cheaper than an inspected one."""
    stages_ms: dict[str, float]
    """Median of the detector's own timings over routed frames."""
    trunk_sha256: str
    trunk_last_block: int


@dataclass(frozen=True)
class ManyTasks:
    """A bundle of many tasks against one of three."""

    tasks: int
    open_seconds: float
    three: Latency
    many: Latency
    many_to_three: Ratio
    ram_bytes_per_further_task: float
    disk_bytes_per_further_task: float


@dataclass(frozen=True)
class Start:
    """Device processes on the bundle of three tasks; medians."""

    seconds: float
    rss: int
    pss: int
    uss: int
    torch: bool


class Bench:
    """Bundles of one set of artifacts; ``artifacts`` are three, ``place`` may be written to."""

    def __init__(self, artifacts: Sequence[Path], place: Path, threads: int) -> None:
        self._artifacts = list(artifacts)
        self._place = place
        self._threads = threads
        self._bundle = place / "bundle-three"
        shutil.rmtree(self._bundle, ignore_errors=True)
        self._export(self._artifacts[:2], self._bundle)
        self._older = (self._bundle / "bundle.json").read_bytes()
        self._export(self._artifacts, self._bundle)
        self._frames = {path.name: _witness(path) for path in self._artifacts}
        self._image = place / "probe.png"
        Image.fromarray(next(iter(self._frames.values()))[0]).save(self._image)

    def against_trunk(self, rounds: int) -> Turns:
        """Time routed frames, frames with the task given and the bare trunk in turns."""
        trunk = open_trunk(self._artifacts[0], self._place / "trunk", self._threads)
        with self._open(self._bundle) as detector:
            frames = _Carousel(self._frames)
            found = [detector.detect(frame) for frame in frames.every]
            times = take_turns(
                {
                    "routed": lambda: detector.detect(frames.turn()),
                    "given": lambda: detector.detect(frames.current, task=frames.task),
                    "trunk": lambda: trunk.run(frames.current),
                },
                rounds,
            )
        verdicts = [one.verdict for one in found]
        return Turns(
            routed=latency_of(times["routed"]),
            given=latency_of(times["given"]),
            trunk=latency_of(times["trunk"]),
            routed_to_trunk=ratio_of(times["routed"], times["trunk"]),
            given_to_trunk=ratio_of(times["given"], times["trunk"]),
            routed_to_given=ratio_of(times["routed"], times["given"]),
            verdicts={verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
            stages_ms={
                name: median(getattr(one.timings, name) for one in found) * 1e3
                for name in ("prepare", "select", "detect", "post")
            },
            trunk_sha256=trunk.sha256,
            trunk_last_block=trunk.last_block,
        )

    def pick_up(self) -> PickUp:
        """Bring a third task into force again and again while two are inspected."""
        copy = self._place / "bundle-pick-up"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self._bundle, copy)
        versions = Versions(copy, self._older, (self._bundle / "bundle.json").read_bytes())
        *old, new = self._artifacts
        line = [frame for path in old for frame in self._frames[path.name]]
        return measure_pick_up(
            versions, line, (new.name, self._frames[new.name][0]), _PICK_UPS, self._threads
        )

    def many_tasks(self, count: int, rounds: int) -> ManyTasks:
        """Compare a bundle of ``count`` tasks with the one of three."""
        copies = self._place / "copies"
        shutil.rmtree(copies, ignore_errors=True)
        bundle = self._place / "bundle-many"
        shutil.rmtree(bundle, ignore_errors=True)
        self._export(multiply_artifacts(self._artifacts, copies, count), bundle)
        further = count - len(self._artifacts)
        with self._open(self._bundle) as three, self._open(bundle) as many:
            frames = _Carousel(self._frames)
            times = take_turns(
                {
                    "three": lambda: three.detect(frames.turn()),
                    "many": lambda: many.detect(frames.current),
                },
                rounds,
            )
        ram = self._unique(bundle) - self._unique(self._bundle)
        disk = folder_bytes(bundle) - folder_bytes(self._bundle)
        return ManyTasks(
            tasks=count,
            open_seconds=median(self._seconds_to_open(bundle) for _ in range(_OPENINGS)),
            three=latency_of(times["three"]),
            many=latency_of(times["many"]),
            many_to_three=ratio_of(times["many"], times["three"]),
            ram_bytes_per_further_task=ram / further,
            disk_bytes_per_further_task=disk / further,
        )

    def start(self) -> Start:
        """Start device processes and take medians."""
        probes = self._probes(self._bundle)
        return Start(
            seconds=median(one.seconds for one in probes),
            rss=int(median(one.memory.rss for one in probes)),
            pss=int(median(one.memory.pss for one in probes)),
            uss=int(median(one.memory.uss for one in probes)),
            torch=any(one.torch for one in probes),
        )

    def graphs(self) -> list[str]:
        """Return the sha256 of every graph of the bundle of three tasks."""
        manifest = Bundle(self._bundle).manifest()
        engines = [manifest.selector.engine, *(task.engine for task in manifest.tasks.values())]
        return sorted({stage.graph for engine in engines for stage in engine.stages})

    def _export(self, artifacts: list[Path], bundle: Path) -> None:
        export(artifacts, bundle, self._place / "staging")

    def _open(self, bundle: Path) -> Detector:
        return Detector.open(bundle, device="cpu", threads=self._threads, watch=False)

    def _seconds_to_open(self, bundle: Path) -> float:
        started = time.perf_counter()
        self._open(bundle).close()
        return time.perf_counter() - started

    def _probes(self, bundle: Path) -> list[Probe]:
        return probe_often(bundle, self._image, self._threads, _PROBES)

    def _unique(self, bundle: Path) -> float:
        return median(one.memory.uss for one in self._probes(bundle))


class _Carousel:
    """Frames of all products, one after another."""

    def __init__(self, frames: dict[str, list[Frame]]) -> None:
        pairs = [(name, frame) for name, some in frames.items() for frame in some]
        self.every = [frame for _, frame in pairs]
        self._next = itertools.cycle(pairs).__next__
        self.task, self.current = self._next()

    def turn(self) -> Frame:
        """Go on to the next frame and return it."""
        self.task, self.current = self._next()
        return self.current


def _witness(artifact: Path) -> list[Frame]:
    """Frames of the recipe's size that the artifact carries as witnesses."""
    learned = read_artifact(artifact)
    return [np.ascontiguousarray(frame) for frame in learned.witness["image"]]
