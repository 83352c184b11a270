"""Which files a command is to inspect, and which depth belongs to them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cad_edge.data.folder import images_in, key_of, real_path
from cad_edge.data.heatmap_folder import HeatmapNames
from cad_edge.data.image_formats import SUFFIXES
from cad_edge.data.image_tree import ImageTree, image_tree
from cad_edge.data.left_out import refuse_deeper
from cad_edge.errors import ImageError


@dataclass(frozen=True)
class ImageFile:
    """An image to inspect, and under which name its heat map is kept."""

    path: Path
    """A file; of several views their folder."""
    name: Path
    views: tuple[Path, ...]
    depth: Path | None = None


Item = ImageFile | ImageError
"""An image, or what is wrong with it."""


def listed(paths: tuple[Path, ...]) -> Iterator[Item]:
    """Images in the order given, those of a folder and its subfolders sorted.

    What cannot be listed comes as an error, before the images of its folder.
    """
    names = HeatmapNames()
    for path in paths:
        if not _is_folder(path):
            yield ImageFile(path, names.of(Path(path.name)), (path,))
            continue
        tree = image_tree(path)
        yield from _problems(path, tree)
        for image in tree.images:
            yield ImageFile(image, names.of(image.relative_to(path)), (image,))


def listed_parts(paths: tuple[Path, ...], views: int) -> Iterator[Item]:
    """Parts in the order given, those of a folder and its subfolders sorted."""
    names = HeatmapNames()
    for path in paths:
        if not _is_folder(path):
            yield ImageError(
                f"{path} is no folder, and the bundle looks at {views} views of every part; give "
                "the folder that holds them"
            )
            continue
        tree = image_tree(path)
        yield from _problems(path, tree)
        for folder, images in tree.folders:
            if len(images) == views:
                name = Path(real_path(path).name or "views", folder.relative_to(path))
                yield ImageFile(folder, names.of(name.with_name(f"{name.name}.png")), images)
                continue
            yield ImageError(
                f"{folder} holds {len(images)} image{'s' if len(images) > 1 else ''}, and the "
                f"bundle looks at {views} views of every part; give it {views}"
            )


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - it never raises


def _problems(folder: Path, tree: ImageTree) -> Iterator[ImageError]:
    for problem in tree.problems:
        yield ImageError(problem)
    if not tree.folders and not tree.problems:
        yield ImageError(
            f"{folder} holds no image; give a folder with {', '.join(sorted(SUFFIXES))} files"
        )


def with_depth(items: Sequence[Item], depth: Path) -> list[Item]:
    """Give images their depth.

    Parameters
    ----------
    items
        As they were listed.
    depth
        The file of one image; or a folder of files that are named as the images are, suffixes
        aside. An image that has none there goes on without it.

    Raises
    ------
    ImageError
        There is one file for several images, a file of the folder belongs to no image, or it is
        not told which file belongs to which image.
    """
    images = [item for item in items if isinstance(item, ImageFile)]
    if _is_folder(depth):
        refuse_deeper(depth)
        planes = _by_stem(images_in(depth))
        shown = {_stem(item.path) for item in images}
        if extra := sorted(set(planes) - shown):
            raise ImageError(
                f"{planes[extra[0]]} has no image (images: {len(images)}, depth files: "
                f"{len(planes)}); give the image, or remove the depth"
            )
        _by_stem(item.path for item in images if _stem(item.path) in planes)
    elif len(images) == 1:
        planes = {_stem(images[0].path): depth}
    else:
        raise ImageError(
            f"{depth} is no folder, and there are {len(images)} images; give a folder of depth "
            "files with the images' names"
        )
    return [
        replace(item, depth=planes.get(_stem(item.path))) if isinstance(item, ImageFile) else item
        for item in items
    ]


def _stem(path: Path) -> str:
    return key_of(path.stem)


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if (other := found.setdefault(_stem(path), path)) != path:
            raise ImageError(
                f"{other} and {path} have one name, and depth belongs to images by their names; "
                "inspect them by themselves, or rename one"
            )
    return found
