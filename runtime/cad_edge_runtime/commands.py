"""`cad-edge detect`: inspect image files, one JSON object per line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from cad_edge.dataset import SUFFIXES
from cad_edge.errors import ImageError
from cad_edge.heatmap import overlay, write_png
from cad_edge.image import Frame, decode_image
from cad_edge.manifest import TaskEntry
from cad_edge_runtime.detection import Detection
from cad_edge_runtime.detector import Detector


@dataclass(frozen=True)
class ImageFile:
    """An image to inspect, and under which name its heat map is kept."""

    path: Path
    name: Path


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@click.option("--task", help="The product, where it is known; skips its recognition.")
@click.option(
    "--heatmaps",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write each image with its anomaly map drawn over it as PNG.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, openvino, cuda, tensorrt or cuda:<number>.",
)
@click.option("--threads", type=int, help="Threads of each graph; all cores without it.")
@click.pass_context
def detect(
    ctx: click.Context,
    bundle: Path,
    paths: tuple[Path, ...],
    task: str | None,
    heatmaps: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Inspect images with BUNDLE; a PATH is an image or a folder of images.

    Prints one JSON object per image. An image that cannot be used is named on the error output, the
    others are inspected, and the exit status is 1.
    """
    failed = False
    with Detector.open(bundle, device=device, threads=threads, watch=False) as detector:
        for item in _listed(paths):
            try:
                if isinstance(item, ImageError):
                    raise item
                rgb = decode_image(item.path)
                found = detector.detect(rgb, task)
                record = found.to_dict(item.path)
                if heatmaps is not None:
                    record["heatmap"] = _draw(heatmaps, item, rgb, found, detector)
            except ImageError as problem:
                click.echo(f"Error: {problem}", err=True)
                failed = True
            else:
                click.echo(json.dumps(record, allow_nan=False))
    if failed:
        ctx.exit(1)


def _listed(paths: tuple[Path, ...]) -> Iterator[ImageFile | ImageError]:
    """Images in the order given, those of a folder and its subfolders sorted."""
    names: dict[Path, int] = {}
    for path in paths:
        if not path.is_dir():
            yield ImageFile(path, _unused(Path(path.name), names))
            continue
        images = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not images:
            yield ImageError(
                f"{path} holds no image; give a folder with {', '.join(sorted(SUFFIXES))} files"
            )
        for image in images:
            yield ImageFile(image, _unused(image.relative_to(path), names))


def _unused(name: Path, names: dict[Path, int]) -> Path:
    """Name of the heat map, numbered where another image has it."""
    wanted = name.with_suffix(".png")
    names[wanted] = names.get(wanted, 0) + 1
    if names[wanted] == 1:
        return wanted
    return _unused(wanted.with_name(f"{wanted.stem}-{names[wanted]}.png"), names)


def _draw(
    folder: Path, item: ImageFile, rgb: Frame, found: Detection, detector: Detector
) -> str | None:
    """Write a heat map and return its path; None where there is no map to draw."""
    if found.anomaly_map is None or found.task is None:
        return None
    low, high = map_scale(detector.manifest.tasks[found.task])
    target = folder / item.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ImageError(f"{target.parent} cannot be made: {problem.strerror}") from None
    write_png(target, overlay(rgb, found.anomaly_map, low, high))
    return str(target)


def map_scale(entry: TaskEntry) -> tuple[float, float]:
    """Map values of no and full colour, the same for every frame of a task.

    The median peak of held-out normals gets no colour; the threshold lies half-way to full colour.
    """
    calibration, decision = entry.calibration, entry.decision
    low = float(np.median(calibration.map_peaks or calibration.scores))
    middle = decision.threshold if decision.map_threshold is None else decision.map_threshold
    return low, low + 2 * max(middle - low, 0.0)
