"""cad-edge's side of the comparison: what was learned, its bundles, and the frames that all see."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cad_edge.data.image import decode_image
from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import Stream, read_stream
from cad_edge.errors import OptionError
from cad_edge.store.artifact import Artifact, list_artifacts, read_record
from cad_edge_benchmarks.instruments.command_runner import export
from cad_edge_benchmarks.instruments.many_tasks import multiply_artifacts
from cad_edge_studies.peers.workers import Launch

BACKBONE = "efficientnet-lite0"
"""The trunk whose weights the peer's extractor is given; another one has another layout."""
EIGHT_BIT = ("int8", "uint8")
"""Precisions whose ranges are measured on the good parts of the stream."""
FRAMES_PER_TASK = 5  # three products then have the patches for a bank of 10,000


@dataclass(frozen=True)
class ProductLine:
    """What cad-edge has learned, and the frames on which all are timed."""

    stream: Stream
    artifacts: tuple[Path, ...]
    """One per task of the stream, in its order."""
    bundles: Mapping[str, Path]
    """A bundle of all tasks by precision; fp32 is among them."""
    frames: Path
    """(n, height, width, 3) uint8 test images of the recipe's size, as .npy."""
    tasks: tuple[str, ...]
    """Task of every frame."""
    place: Path
    """May be written to."""
    threads: int

    @property
    def record(self) -> Artifact:
        """What the first artifact says of its learning."""
        return read_record(self.artifacts[0])

    def launch(self, precision: str) -> Launch:
        """Describe a worker on the bundle of ``precision``."""
        module = "cad_edge_studies.peers.cad_edge_worker"
        arguments = (str(self.bundles[precision]), str(self.frames), str(self.threads))
        command = (sys.executable, "-m", module, *arguments)
        variables = {"OMP_NUM_THREADS": str(self.threads)}
        return Launch(f"cad-edge-{precision}", command, self.place / "workers", variables)

    def first_image(self) -> Path:
        """Write the first frame as an image file."""
        path = self.place / "first.png"
        Image.fromarray(np.load(self.frames, mmap_mode="r", allow_pickle=False)[0]).save(path)
        return path

    def bundle_of(self, products: int) -> Path:
        """Export a bundle of so many products in fp32; copies where fewer were learned."""
        found = multiply_artifacts(list(self.artifacts), self.place / "copies", products)
        bundle = self.place / f"bundle-{products}-products"
        export(found[:products], bundle, self.place / "staging")
        return bundle


def set_up_line(
    stream_file: Path, artifacts: Path, precisions: Sequence[str], place: Path, threads: int
) -> ProductLine:
    """Export every precision and write the frames.

    Parameters
    ----------
    stream_file
        Lists the tasks.
    artifacts
        Folder with a learned artifact for every one of them.
    precisions
        What `cad-edge export` is asked for; fp32 is added.
    place
        Written to.
    threads
        Of every worker.

    Raises
    ------
    OptionError
        A task was not learned, or on another backbone.
    """
    stream = read_stream(stream_file)
    found = {path.name: path for path in list_artifacts(artifacts)}
    if missing := [task.name for task in stream.tasks if task.name not in found]:
        raise OptionError(f"{artifacts} lacks {missing[0]}; learn it, or choose tasks by --task")
    chosen = tuple(found[task.name] for task in stream.tasks)
    for path in chosen:
        if (backbone := read_record(path).backbone.id) != BACKBONE:
            raise OptionError(f"{path} was learned on {backbone}; give artifacts on {BACKBONE}")
    bundles: dict[str, Path] = {}
    for precision in dict.fromkeys(("fp32", *precisions)):
        bundles[precision] = place / f"bundle-{precision}"
        export(
            list(chosen),
            bundles[precision],
            place / "staging",
            precision=precision,
            calibration=stream_file if precision in EIGHT_BIT else None,
        )
    frames, tasks = place / "frames.npy", _write_frames(stream, chosen[0], place / "frames.npy")
    return ProductLine(stream, chosen, bundles, frames, tasks, place, threads)


def _write_frames(stream: Stream, artifact: Path, target: Path) -> tuple[str, ...]:
    """Write some test images of every task, products in turn; the task of each."""
    recipe = read_record(artifact).recipe
    chosen = {task.name: _spread(task.images().test) for task in stream.tasks}
    pairs = [
        (name, items[turn % len(items)])
        for turn in range(FRAMES_PER_TASK)
        for name, items in chosen.items()
    ]
    np.save(target, np.stack([recipe.apply(decode_image(item.path)) for _, item in pairs]))
    return tuple(name for name, _ in pairs)


def _spread(items: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Choose from the whole length of ``items``, so that good and defective ones are among them."""
    places = np.linspace(0, len(items) - 1, min(FRAMES_PER_TASK, len(items)))
    return [items[int(place)] for place in places]
