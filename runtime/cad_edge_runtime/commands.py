"""`cad-edge detect`: inspect image files, one JSON object per line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np

from cad_edge.dataset import SUFFIXES, images_in
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
    """A file; of several views their folder."""
    name: Path
    views: tuple[Path, ...]
    depth: Path | None = None


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH..."
)
@click.option("--task", help="The product, where it is known; skips its recognition.")
@click.option(
    "--depth",
    type=click.Path(path_type=Path),
    help="Depth of the images: a file for one image, or a folder whose files have their names.",
)
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
    depth: Path | None,
    heatmaps: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Inspect images with BUNDLE; a PATH is an image or a folder of images.

    Where BUNDLE looks at several views of a part, a PATH is the folder of the views of one, or one
    with such folders in it; views come in the order of their names.

    Prints one JSON object per image or part. One that cannot be used is named on the error output,
    the others are inspected, and the exit status is 1.
    """
    failed = False
    with Detector.open(bundle, device=device, threads=threads, watch=False) as detector:
        listed = _listed(paths) if detector.views == 1 else _listed_parts(paths, detector.views)
        for item in listed if depth is None else with_depth(list(listed), depth):
            try:
                if isinstance(item, ImageError):
                    raise item
                shown = [decode_image(view) for view in item.views]
                found = detector.detect(shown, task, item.depth)
                record = found.to_dict(item.path)
                if heatmaps is not None:
                    record["heatmap"] = _draw(heatmaps, item, shown[0], found, detector)
            except ImageError as problem:
                click.echo(f"Error: {problem}", err=True)
                failed = True
            else:
                click.echo(json.dumps(record, allow_nan=False))
    if failed:
        ctx.exit(1)


def with_depth(items: list[ImageFile | ImageError], depth: Path) -> list[ImageFile | ImageError]:
    """Give images their depth by the names of the files, suffixes aside.

    An image without one goes on without it.

    Raises
    ------
    ImageError
        There is one file for several images, or a file of the folder belongs to none.
    """
    files = [item for item in items if isinstance(item, ImageFile)]
    if not depth.is_dir():
        if len(files) != 1:
            raise ImageError(
                f"{depth} is one depth file for {len(files)} images; give a folder whose files "
                "have the images' names"
            )
        return [item if item not in files else replace(item, depth=depth) for item in items]
    planes = {path.stem: path for path in images_in(depth)}
    if extra := sorted(planes.keys() - {item.path.stem for item in files}):
        raise ImageError(f"{planes[extra[0]]} has no image; give the image, or remove the depth")
    return [
        replace(item, depth=planes.get(item.path.stem)) if isinstance(item, ImageFile) else item
        for item in items
    ]


def _listed(paths: tuple[Path, ...]) -> Iterator[ImageFile | ImageError]:
    """Images in the order given, those of a folder and its subfolders sorted."""
    names: dict[Path, int] = {}
    for path in paths:
        if not path.is_dir():
            yield ImageFile(path, _unused(Path(path.name), names), (path,))
            continue
        images = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not images:
            yield _no_image(path)
        for image in images:
            yield ImageFile(image, _unused(image.relative_to(path), names), (image,))


def _listed_parts(paths: tuple[Path, ...], views: int) -> Iterator[ImageFile | ImageError]:
    """Parts in the order given, those of a folder and its subfolders sorted."""
    names: dict[Path, int] = {}
    for path in paths:
        if not path.is_dir():
            yield ImageError(
                f"{path} is no folder, and the bundle looks at {views} views of every part; give "
                "the folder that holds them"
            )
            continue
        folders = [path, *sorted(place for place in path.rglob("*") if place.is_dir())]
        parts = [(folder, images) for folder in folders if (images := images_in(folder))]
        if not parts:
            yield _no_image(path)
        for folder, images in parts:
            if len(images) == views:
                name = Path(path.resolve().name or "views", folder.relative_to(path))
                yield ImageFile(folder, _unused(name, names), images)
                continue
            yield ImageError(
                f"{folder} holds {len(images)} image{'s' if len(images) > 1 else ''}, and the "
                f"bundle looks at {views} views of every part; give it {views}"
            )


def _no_image(folder: Path) -> ImageError:
    return ImageError(
        f"{folder} holds no image; give a folder with {', '.join(sorted(SUFFIXES))} files"
    )


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
