"""Which files a command is to inspect, and which depth belongs to them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cad_edge.data.image_formats import SUFFIXES
from cad_edge.data.folder import images_in
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


def listed(paths: tuple[Path, ...]) -> Iterator[ImageFile | ImageError]:
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


def listed_parts(paths: tuple[Path, ...], views: int) -> Iterator[ImageFile | ImageError]:
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
    if depth.is_dir():
        planes = _by_stem(images_in(depth))
        shown = {item.path.stem for item in images}
        if extra := sorted(set(planes) - shown):
            raise ImageError(
                f"{planes[extra[0]]} has no image (images: {len(images)}, depth files: "
                f"{len(planes)}); give the image, or remove the depth"
            )
        _by_stem(item.path for item in images if item.path.stem in planes)
    elif len(images) == 1:
        planes = {images[0].path.stem: depth}
    else:
        raise ImageError(
            f"{depth} is no folder, and there are {len(images)} images; give a folder of depth "
            "files with the images' names"
        )
    return [
        replace(item, depth=planes.get(item.path.stem)) if isinstance(item, ImageFile) else item
        for item in items
    ]


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if found.setdefault(path.stem, path) != path:
            raise ImageError(
                f"{found[path.stem]} and {path} have one name, and depth belongs to images by "
                "their names; inspect them by themselves, or rename one"
            )
    return found
