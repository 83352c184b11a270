"""`cad-edge detect`: inspect image files, one JSON object per line."""

import json
from pathlib import Path

import click
import numpy as np

from cad_edge import options
from cad_edge.data.heatmap_folder import HeatmapFolder
from cad_edge.data.image import Frame, decode_image
from cad_edge.errors import ImageError
from cad_edge.heatmap import overlay, write_png
from cad_edge.store.manifest import TaskEntry
from cad_edge_runtime.claimed_output import claimed_output
from cad_edge_runtime.detection import Detection
from cad_edge_runtime.detector import Detector
from cad_edge_runtime.listing import ImageFile, listed, listed_parts, with_depth


@click.command()
@options.bundle
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@options.task()
@options.depth
@click.option(
    "--heatmaps",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of its own for each image as PNG, with its anomaly map drawn over it.",
)
@options.device
@options.threads
@options.max_pixels
@options.trusted_keys
@click.pass_context
def detect(
    ctx: click.Context,
    bundle: Path,
    paths: tuple[Path, ...],
    task: str | None,
    depth: Path | None,
    heatmaps: Path | None,
    device: str,
    threads: int | None,
    max_pixels: int,
) -> None:
    """Inspect images with BUNDLE; a PATH is an image or a folder of images.

    Prints one JSON object per image. Images that cannot be used are named on stderr, the others are
    inspected, and the exit status is 1.

    Where a bundle looks at several views of a part, a PATH is the folder of the views of one part,
    or a folder of such folders; the views come in the order of their names.

    Where a product is inspected by depth as well, give --depth. An image without depth is inspected
    by what `cad-edge export --without-depth` added, or refused.
    """
    failed = False
    with (
        claimed_output() as output,
        Detector.open(
            bundle, device=device, threads=threads, watch=False, max_pixels=max_pixels
        ) as detector,
    ):
        drawn = None if heatmaps is None else HeatmapFolder(heatmaps, paths)
        items = listed(paths) if detector.views == 1 else listed_parts(paths, detector.views)
        for item in items if depth is None else with_depth(list(items), depth):
            try:
                if isinstance(item, ImageError):
                    raise item
                shown = [decode_image(view, max_pixels) for view in item.views]
                found = _inspected(detector, item, shown, task)
            except ImageError as problem:
                click.echo(f"Error: {problem}", err=True)
                failed = True
                continue
            record = found.to_dict(item.path)
            if drawn is not None:
                try:
                    record["heatmap"] = _draw(drawn.place, item, shown[0], found, detector)
                except ImageError as problem:  # the verdict stands without its picture
                    click.echo(f"Error: {problem}", err=True)
                    record["heatmap"], failed = None, True
            click.echo(json.dumps(record, allow_nan=False), file=output)
    if failed:
        ctx.exit(1)


def _inspected(
    detector: Detector, item: ImageFile, shown: list[Frame], task: str | None
) -> Detection:
    """Inspect one image; what is wrong with its depth is said with the image's name."""
    try:
        return detector.detect(shown, task, item.depth)
    except ImageError as problem:
        raise ImageError(f"{item.path}: {problem}") from None


def _draw(
    folder: Path, item: ImageFile, rgb: Frame, found: Detection, detector: Detector
) -> str | None:
    """Write a heat map and return its path; None where there is no map to draw."""
    if found.anomaly_map is None or found.task is None:
        return None
    entry = detector.manifest.tasks[found.task]
    if entry.without_depth is not None and not found.depth_used:
        entry = entry.without_depth
    low, high = map_scale(entry)
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
