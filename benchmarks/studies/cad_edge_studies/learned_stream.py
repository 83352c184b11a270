"""A stream learned by `cad-edge train`, and bundles of it by `cad-edge export`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cad_edge.data.stream import Stream
from cad_edge.store.artifact import Artifact, list_artifacts, read_record
from cad_edge_benchmarks.evaluate.command import evaluate_stream
from cad_edge_benchmarks.instruments.command_runner import export, learn
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation
from cad_edge_benchmarks.instruments.synthetic_tasks import VersionMaker
from cad_edge_runtime import Detector
from cad_edge_studies.open_category_study import made_with


@dataclass(frozen=True)
class LearnedStream:
    """A learned stream: ``artifacts`` in stream order, ``place`` for everything made of them."""

    stream: Stream
    artifacts: list[Path]
    place: Path
    threads: int

    @property
    def record(self) -> Artifact:
        """What the first artifact says of its learning."""
        return read_record(self.artifacts[0])

    def bundle(self, layout: str = "shared") -> Path:
        """Folder of the bundle in ``layout``."""
        return self.place / f"bundle-{layout}"

    def export(
        self, artifacts: Sequence[Path], layout: str = "shared", bundle: Path | None = None
    ) -> Path:
        """Export exactly ``artifacts`` to ``bundle``, by default that of ``layout``."""
        target = bundle or self.bundle(layout)
        export(artifacts, target, self.place / "staging", layout)
        return target

    def open(self, bundle: Path) -> Detector:
        """Open a bundle without watching it."""
        return open_bundle(bundle, self.threads)

    def evaluate(self) -> dict[str, TaskEvaluation]:
        """Evaluate the bundle in the shared layout."""
        return evaluate_bundle(self.bundle(), self.stream, self.threads)

    def versions(self, seed: int) -> VersionMaker:
        """Return a maker of bundles of some of the tasks, without an export for each.

        They are versions of one bundle of all tasks: selector, rejection thresholds and map rules
        are fitted to exactly their tasks by the functions that the exporter calls, inference graphs
        and score thresholds stay.
        """
        bundle = self.export(self.artifacts)
        return VersionMaker(bundle, self.place / "versions", seed, keeps_radius=False)

    def conditions(self) -> dict[str, object]:
        """At which rate, on what and with what figures are made."""
        rate = self.stream.false_reject_rate
        return {"stated_false_reject_rate": rate, **made_with(self.threads)}


def learn_stream(
    stream: Stream, place: Path, seed: int, options: Sequence[str], threads: int
) -> LearnedStream:
    """Learn what ``place`` lacks of a stream; ``options`` are passed on to `cad-edge train`."""
    place.mkdir(parents=True, exist_ok=True)
    stream_file, artifacts = place / "stream.json", place / "artifacts"
    stream_file.write_text(stream.model_dump_json(indent=1, exclude_defaults=True), "utf-8")
    learn(stream_file, artifacts, seed, options)
    return LearnedStream(stream, list_artifacts(artifacts), place, threads)


def open_bundle(bundle: Path, threads: int) -> Detector:
    """Open a bundle on the CPU without watching it."""
    return Detector.open(bundle, device="cpu", threads=threads, watch=False)


def evaluate_bundle(bundle: Path, stream: Stream, threads: int) -> dict[str, TaskEvaluation]:
    """Evaluate ``bundle`` as `cad-edge evaluate` does."""
    with open_bundle(bundle, threads) as detector:
        return evaluate_stream(detector, stream)
