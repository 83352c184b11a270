"""A continual run: bundles grow by one task at a time and are measured at every stage."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

from cad_edge.data.image import decode_image
from cad_edge.heatmap import write_png
from cad_edge.store.artifact import read_record
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_benchmarks.instruments.probe import probe_often
from cad_edge_runtime import Detector
from cad_edge_studies.accuracy.forgetting import (
    GivenAnswers,
    compare,
    describe_matrix,
    given_answers,
)
from cad_edge_studies.learned_stream import LearnedStream
from cad_edge_studies.open_set import frames_of, measure_left_out, predict, routed_auroc

_PROBES = 3  # device processes per stage; the median of their memory counts


@dataclass(frozen=True)
class Stages:
    """What was measured while tasks were added in the shared layout."""

    forgetting: Mapping[str, int]
    matrix: Mapping[str, object]
    given_auroc: Mapping[str, float | None]
    """Image AUROC with the task given, after the last stage."""
    disk_bytes: Mapping[str, int]
    """What each task added to the bundle folder, its manifest included."""
    ram_bytes: list[int]
    """Unique memory of a device process after each stage."""


def median_slope(values: Sequence[int]) -> float | None:
    """Theil-Sen slope per step, which one odd process does not move; None for fewer than two."""
    slopes = [
        (later - earlier) / (j - i)
        for (i, earlier), (j, later) in combinations(enumerate(values), 2)
    ]
    return float(median(slopes)) if slopes else None


class ContinualRun:
    """Builds and measures the bundles of one learned stream."""

    def __init__(self, learned: LearnedStream) -> None:
        self._learned = learned
        self._names = [path.name for path in learned.artifacts]
        self._image = _write_probe_image(learned)
        self._frames = {task.name: frames_of(task) for task in learned.stream.tasks}

    def run_stages(self) -> Stages:
        """Add one task after another in the shared layout; measure after each."""
        bundle = self._emptied("shared")
        own: dict[str, GivenAnswers] = {}
        rows: list[list[float | None]] = []
        disk: dict[str, int] = {}
        ram: list[int] = []
        last: dict[str, GivenAnswers] = {}
        for stage, newest in enumerate(self._names, start=1):
            before = folder_bytes(bundle)
            self._learned.export(self._learned.artifacts[:stage])
            disk[newest] = folder_bytes(bundle) - before
            ram.append(self._unique_memory(bundle))
            with self._learned.open(bundle) as detector:
                shown = [self._frames[name] for name in self._names[:stage]]
                rows.append([routed_auroc(predict(detector, frames)) for frames in shown])
                asked = self._names if stage == len(self._names) else [newest]
                last = self._given(detector, asked)
                own[newest] = last[newest]
        return Stages(
            forgetting=compare(own, last),
            matrix=describe_matrix(rows),
            given_auroc={name: answers.auroc for name, answers in last.items()},
            disk_bytes=disk,
            ram_bytes=ram,
        )

    def compare_fused(self) -> Mapping[str, int]:
        """Compare the first task's answers in the fused layout, alone and among all others."""
        bundle = self._emptied("fused")
        answers = []
        for count in (1, len(self._names)):
            self._learned.export(self._learned.artifacts[:count], "fused")
            with self._learned.open(bundle) as detector:
                answers.append(self._given(detector, self._names[:1]))
        return compare(*answers)

    def leave_out(self) -> dict[str, dict[str, float | None]]:
        """Measure, for every task, a bundle that never learned it; nothing for a single task."""
        found: dict[str, dict[str, float | None]] = {}
        for left_out in self._learned.artifacts if len(self._names) > 1 else ():
            bundle = self._emptied("left-out")
            others = [path for path in self._learned.artifacts if path != left_out]
            self._learned.export(others, bundle=bundle)
            with self._learned.open(bundle) as detector:
                found[left_out.name] = measure_left_out(detector, left_out.name, self._frames)
        return found

    def certificates(self) -> dict[str, dict[str, dict[str, object]]]:
        """Certificate of every task as JSON values, by layout and task."""
        return {
            layout: {
                name: entry.certificate.model_dump(mode="json")
                for name, entry in Bundle(self._learned.bundle(layout)).manifest().tasks.items()
            }
            for layout in ("shared", "fused")
        }

    def _emptied(self, layout: str) -> Path:
        bundle = self._learned.bundle(layout)
        shutil.rmtree(bundle, ignore_errors=True)
        return bundle

    def _given(self, detector: Detector, names: Sequence[str]) -> dict[str, GivenAnswers]:
        return {name: given_answers(detector, self._frames[name]) for name in names}

    def _unique_memory(self, bundle: Path) -> int:
        probes = probe_often(bundle, self._image, self._learned.threads, _PROBES)
        return int(median(one.memory.uss for one in probes))


def _write_probe_image(learned: LearnedStream) -> Path:
    """Write the frame that device processes are shown; of the graphs' size where they agree."""
    records = [read_record(path) for path in learned.artifacts]
    recipes = {recipe for one in records for recipe in (one.recipe, one.recognised_at)}
    frame = decode_image(learned.stream.tasks[0].images().test[0].path)
    target = learned.place / "probe.png"
    write_png(target, recipes.pop().apply(frame) if len(recipes) == 1 else frame)
    return target
