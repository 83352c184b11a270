"""cad-edge's side of the comparison: what was learned, its bundles, and the frames that all see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from cad_edge.data.image import Frame, ImageRecipe, decode_image
from cad_edge.data.stream import Stream, read_stream
from cad_edge.errors import OptionError
from cad_edge.store.artifact import list_artifacts, read_record
from cad_edge_benchmarks.instruments.command_runner import BACKBONE, export, learn
from cad_edge_benchmarks.instruments.inspection_turns import detector_launch
from cad_edge_benchmarks.instruments.many_tasks import multiply_artifacts
from cad_edge_benchmarks.instruments.subprocess_worker import Launch
from cad_edge_studies.learned_stream import LearnedStream

SEED = 0
"""Of the learning, and of what anomalib draws."""
EIGHT_BIT = ("int8", "uint8")
"""Precisions whose ranges are measured on the good parts of the stream."""
FRAMES_PER_TASK = 5  # three products then have the patches for a bank of 10,000


@dataclass(frozen=True)
class ProductLine(LearnedStream):
    """What cad-edge has learned, its bundles, and the frames on which all are timed."""

    bundles: Mapping[str, Path]
    """A bundle of all tasks by precision; fp32 is among them."""
    frames: Path
    """(n, height, width, 3) uint8 test images of the recipe's size, as .npy."""
    tasks: tuple[str, ...]
    """Task of every frame."""

    def launch(self, precision: str) -> Launch:
        """Describe a worker on the bundle of ``precision``."""
        place = self.place / "workers"
        return detector_launch(self.bundles[precision], self.frames, self.threads, place)

    def first_image(self) -> Path:
        """Write the first frame as an image file."""
        path = self.place / "first.png"
        Image.fromarray(np.load(self.frames, mmap_mode="r", allow_pickle=False)[0]).save(path)
        return path

    def bundle_of(self, products: int) -> Path:
        """Export a bundle of so many products in fp32; copies where fewer were learned."""
        found = multiply_artifacts(self.artifacts, self.place / "copies", products)
        bundle = self.place / f"bundle-{products}-products"
        return self.export(found[:products], bundle=bundle)


def set_up_line(
    stream_file: Path,
    artifacts: Path | None,
    precisions: Sequence[str],
    place: Path,
    threads: int,
) -> ProductLine:
    """Learn the tasks of ``stream_file``, export them in every precision and write the frames.

    Parameters
    ----------
    artifacts
        Folder with a learned artifact for every task; without it they are learned now.
    precisions
        What `cad-edge export` is asked for; fp32 is added.

    Raises
    ------
    OptionError
        A task was not learned, or on another backbone than the one whose weights the peer's
        extractor is given; another one has another layout.
    """
    if artifacts is None:
        click.echo("learning the products")
        artifacts = place / "artifacts"
        learn(stream_file, artifacts, SEED)
    stream = read_stream(stream_file)
    found = {path.name: path for path in list_artifacts(artifacts)}
    if missing := [task.name for task in stream.tasks if task.name not in found]:
        raise OptionError(f"{artifacts} lacks {missing[0]}; learn it, or choose tasks by --task")
    chosen = [found[task.name] for task in stream.tasks]
    for path in chosen:
        if (backbone := read_record(path).backbone.id) != BACKBONE:
            raise OptionError(f"{path} was learned on {backbone}; give artifacts on {BACKBONE}")
    bundles = {name: place / f"bundle-{name}" for name in ("fp32", *precisions)}
    for precision, bundle in bundles.items():
        calibration = stream_file if precision in EIGHT_BIT else None
        staging = place / "staging"
        export(chosen, bundle, staging, precision=precision, calibration=calibration)
    shown = spread_frames(stream, read_record(chosen[0]).recipe)
    np.save(place / "frames.npy", np.stack([frame for _, frame in shown]))
    tasks = tuple(name for name, _ in shown)
    return ProductLine(stream, chosen, place, threads, bundles, place / "frames.npy", tasks)


def spread_frames(stream: Stream, recipe: ImageRecipe) -> list[tuple[str, Frame]]:
    """Test images of every task at the recipe's size with their task, products in turn.

    They come from the whole length of each task's list, so that good and defective ones are among
    them; a task with fewer than `FRAMES_PER_TASK` shows some of them again.
    """
    chosen = {}
    for task in stream.tasks:
        items = task.images().test
        places = np.linspace(0, len(items) - 1, FRAMES_PER_TASK)
        chosen[task.name] = [recipe.apply(decode_image(items[int(at)].path)) for at in places]
    return [
        (name, frames[turn]) for turn in range(FRAMES_PER_TASK) for name, frames in chosen.items()
    ]
