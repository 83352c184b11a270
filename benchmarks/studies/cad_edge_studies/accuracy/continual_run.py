"""A stream lived through: bundles grow by one task at a time and are measured at every stage."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cad_edge.data.stream import Stream
from cad_edge.store.artifact import read_record
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.evaluate.command import evaluate_stream
from cad_edge_benchmarks.instruments.command_runner import export, folder_bytes
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation
from cad_edge_benchmarks.instruments.metrics import image_auroc
from cad_edge_benchmarks.instruments.probe import probe_often
from cad_edge_runtime import Detector
from cad_edge_studies.accuracy.forgetting import (
    Forgetting,
    GivenAnswers,
    RoutedMatrix,
    compare,
    describe_matrix,
    given_answers,
    routed_auroc,
)
from cad_edge_studies.accuracy.frames import ProductFrames, read_frames
from cad_edge_studies.accuracy.unknown_product import LeftOut, measure_left_out

_PROBES = 3  # device processes per stage; the median of their memory counts


@dataclass(frozen=True)
class Learned:
    """A learned stream: ``artifacts`` in stream order, ``place`` for everything made of them."""

    stream: Stream
    artifacts: list[Path]
    place: Path


@dataclass(frozen=True)
class Stages:
    """What was measured while tasks were added in the shared layout."""

    forgetting: Forgetting
    matrix: RoutedMatrix
    given_auroc: Mapping[str, float | None]
    """Image AUROC with the task given, after the last stage."""
    disk_bytes: Mapping[str, int]
    """What each task added to the bundle folder, its manifest included."""
    ram_bytes: list[int]
    """Unique memory of a device process after each stage."""

    @property
    def ram_bytes_per_further_task(self) -> float | None:
        """Slope of memory over the number of tasks."""
        return median_slope(self.ram_bytes)


def median_slope(values: list[int]) -> float | None:
    """Theil-Sen slope per step, which one odd process does not move; None for fewer than two."""
    slopes = [
        (later - earlier) / (j - i)
        for i, earlier in enumerate(values)
        for j, later in enumerate(values)
        if j > i
    ]
    return float(median(slopes)) if slopes else None


class Curriculum:
    """Builds and measures the bundles of one learned stream."""

    def __init__(self, learned: Learned, threads: int) -> None:
        self._learned = learned
        self._threads = threads
        records = [read_record(path) for path in learned.artifacts]
        sizes = {recipe for one in records for recipe in (one.recipe, one.recognised_at)}
        recipe = sizes.pop() if len(sizes) == 1 else None
        self._frames: dict[str, ProductFrames] = read_frames(learned.stream, recipe)
        self._image = learned.place / "probe.png"
        _write_png(self._image, self._frames[learned.artifacts[0].name])

    def bundle(self, layout: str) -> Path:
        """Folder of the bundle with every task in ``layout``."""
        return self._learned.place / f"bundle-{layout}"

    def run_stages(self) -> Stages:
        """Add one task after another in the shared layout; measure after each."""
        bundle = self._emptied("shared")
        own: dict[str, GivenAnswers] = {}
        rows: list[list[float | None]] = []
        disk: dict[str, int] = {}
        ram: list[int] = []
        last: dict[str, GivenAnswers] = {}
        for stage, artifact in enumerate(self._learned.artifacts):
            before = folder_bytes(bundle)
            self._export(bundle, self._learned.artifacts[: stage + 1], "shared")
            disk[artifact.name] = folder_bytes(bundle) - before
            ram.append(self._unique_memory(bundle))
            names = [path.name for path in self._learned.artifacts[: stage + 1]]
            with self._open(bundle) as detector:
                rows.append([routed_auroc(detector, name, self._frames[name]) for name in names])
                last = self._given(detector, names if stage + 1 == self._count else [names[-1]])
            own.setdefault(artifact.name, last[artifact.name])
        return Stages(
            forgetting=compare(own, last),
            matrix=describe_matrix(rows),
            given_auroc={
                name: image_auroc(self._frames[name].anomalous, answers.scores)
                for name, answers in last.items()
            },
            disk_bytes=disk,
            ram_bytes=ram,
        )

    def compare_fused(self) -> Forgetting:
        """Compare the first task's answers in the fused layout, alone and among all others."""
        bundle = self._emptied("fused")
        first = self._learned.artifacts[:1]
        answers: list[dict[str, GivenAnswers]] = []
        for artifacts in (first, self._learned.artifacts):
            self._export(bundle, artifacts, "fused")
            with self._open(bundle) as detector:
                answers.append(self._given(detector, [first[0].name]))
        return compare(*answers)

    def leave_out(self) -> dict[str, LeftOut]:
        """Measure, for every task, a bundle of all the others."""
        found: dict[str, LeftOut] = {}
        if self._count < 2:
            return found
        bundle = self._learned.place / "bundle-left-out"
        for artifact in self._learned.artifacts:
            shutil.rmtree(bundle, ignore_errors=True)
            self._export(bundle, [a for a in self._learned.artifacts if a != artifact], "shared")
            with self._open(bundle) as detector:
                found[artifact.name] = measure_left_out(detector, artifact.name, self._frames)
        return found

    def certificates(self) -> dict[str, dict[str, dict[str, object]]]:
        """Certificate of every task as JSON values, by layout and task."""
        return {
            layout: {
                name: entry.certificate.model_dump(mode="json")
                for name, entry in Bundle(self.bundle(layout)).manifest().tasks.items()
            }
            for layout in ("shared", "fused")
        }

    @property
    def _count(self) -> int:
        return len(self._learned.artifacts)

    def _emptied(self, layout: str) -> Path:
        bundle = self.bundle(layout)
        shutil.rmtree(bundle, ignore_errors=True)
        return bundle

    def _export(self, bundle: Path, artifacts: list[Path], layout: str) -> None:
        export(artifacts, bundle, self._learned.place / "staging", layout)

    def _open(self, bundle: Path) -> Detector:
        return Detector.open(bundle, device="cpu", threads=self._threads, watch=False)

    def _given(self, detector: Detector, names: list[str]) -> dict[str, GivenAnswers]:
        return {name: given_answers(detector, name, self._frames[name]) for name in names}

    def _unique_memory(self, bundle: Path) -> int:
        probes = probe_often(bundle, self._image, self._threads, _PROBES)
        return int(median(one.memory.uss for one in probes))


def evaluate_bundle(bundle: Path, stream: Stream, threads: int) -> dict[str, TaskEvaluation]:
    """Evaluate ``bundle`` as `cad-edge evaluate` does."""
    with Detector.open(bundle, device="cpu", threads=threads, watch=False) as detector:
        return evaluate_stream(detector, stream)


def _write_png(path: Path, product: ProductFrames) -> None:
    from PIL import Image

    Image.fromarray(product.frames[0]).save(path)
