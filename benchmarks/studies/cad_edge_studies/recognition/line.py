"""A learned line of which bundles of some products are made, without an export for each.

Bundles are versions of one that holds every product (benchmark/made_up.py): selector, radii and map
rules are fitted to exactly their tasks by the functions that the exporter calls, engines and
thresholds stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cad_edge.data.image import Frame, decode_image
from cad_edge.data.stream import Stream, read_stream
from cad_edge.store.artifact import list_artifacts
from cad_edge_benchmarks.instruments.command_runner import export, learn
from cad_edge_benchmarks.instruments.synthetic_tasks import VersionMaker
from cad_edge_runtime import Detector
from cad_edge_studies.accuracy.unknown_product import strangeness_of
from cad_edge_studies.recognition.figures import Look, Seen


@dataclass(frozen=True)
class Shown:
    """A test image in memory, as the camera gave it."""

    product: str
    anomalous: bool
    frame: Frame


@dataclass(frozen=True)
class Line:
    """A stream, learned and exported."""

    stream: Stream
    artifacts: list[Path]
    maker: VersionMaker
    threads: int

    def opened(self, names: Sequence[str]) -> Detector:
        """Open a bundle of the tasks ``names`` alone."""
        self.maker.commit(names)
        return Detector.open(self.maker.path, device="cpu", threads=self.threads, watch=False)

    def look(self, names: Sequence[str], images: Sequence[Shown]) -> Look:
        """Show images to the bundle of the tasks ``names``."""
        with self.opened(names) as detector:
            found = [(image, detector.detect(image.frame)) for image in images]
        seen = [
            Seen(one.product, one.anomalous, said.task, said.nearest, strangeness_of(said))
            for one, said in found
        ]
        return Look(tuple(names), seen)


def learned_line(
    stream_file: Path, place: Path, seed: int, options: Sequence[str], threads: int
) -> Line:
    """Learn and export a stream into the folder ``place``."""
    artifacts, bundle = place / "artifacts", place / "bundle"
    learn(stream_file, artifacts, seed, options)
    found = list_artifacts(artifacts)
    export(found, bundle, place / "staging")
    maker = VersionMaker(bundle, place / "versions", seed, keeps_radius=False)
    return Line(read_stream(stream_file), found, maker, threads)


def read_images(stream: Stream) -> list[Shown]:
    """Decode every test image of a stream; tasks may look at different sizes of it."""
    return [
        Shown(task.name, item.anomalous, decode_image(item.path))
        for task in stream.tasks
        for item in task.images().test
    ]
