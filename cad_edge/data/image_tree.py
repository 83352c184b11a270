"""Images of a folder and all folders below it, as the device and what measures are given them.

Links to folders are followed, each folder once. What cannot be listed is named and the rest is
listed: on a line, one camera's folder must not hide the others, nor be missed without a word.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cad_edge.data.folder import (
    HEATMAP_MARK,
    Contents,
    contents_of,
    is_marked,
    lost_sentence,
    real_path,
    unread_sentence,
)
from cad_edge.data.image_formats import SUFFIXES
from cad_edge.errors import DatasetError

# Folders that say something about the images of a folder beside them, by that folder's name.
_COMPANIONS = {
    "ground_truth": {"test"},
    "gt": {"rgb"},
    "depth": {"rgb"},
    "xyz": {"rgb"},
    "masks": {"images"},
}
# Eyecandies has everything of a part in one folder.
_PART = re.compile(r"(\d+)_image_\d+\.png")
_PLANE = re.compile(r"(\d+)_(depth|normals|(\w+_)?mask)\.png")


@dataclass(frozen=True)
class ImageTree:
    """What lies below a folder."""

    folders: tuple[tuple[Path, tuple[Path, ...]], ...]
    """Each folder that holds images, with them; both sorted."""
    problems: tuple[str, ...]
    """A sentence for everything that cannot be listed."""

    @property
    def images(self) -> tuple[Path, ...]:
        """All images, sorted by their paths."""
        return tuple(sorted(image for _, images in self.folders for image in images))


def image_tree(top: Path) -> ImageTree:
    """List the images below ``top``.

    Hidden files and folders, folders of heat maps, and masks and depth of the layouts are passed
    over.
    """
    found: dict[Path, tuple[Path, ...]] = {}
    problems: list[str] = []
    if is_marked(top):
        problems.append(
            f"{top} holds heat maps that cad-edge detect drew, and they are not inspected; give "
            f"the folder of the images, or remove {HEATMAP_MARK} from it"
        )
        return ImageTree((), tuple(problems))
    seen = set(real_path(top).parents)  # a link back up would list what nobody asked for
    waiting, links = [top], list[Path]()
    while waiting or links:
        # Links come last: a folder goes by its own name where both lead to it.
        place = waiting.pop() if waiting else links.pop(links.index(min(links)))
        real = real_path(place)
        if real in seen:
            continue
        seen.add(real)
        try:
            contents = contents_of(place)
        except DatasetError as problem:
            problems.append(str(problem))
            continue
        problems += [lost_sentence(path) for path in contents.lost]
        if contents.unread:
            problems.append(unread_sentence(place, contents.unread))
        if place != top and place.suffix.lower() in SUFFIXES and contents == Contents():
            problems.append(f"{place} cannot be read (Is a directory); give an image of that name")
        if images := _pictures(contents):
            found[place] = images
        for folder in _inspected(contents):
            (links if folder.is_symlink() else waiting).append(folder)
    return ImageTree(tuple(sorted(found.items())), tuple(sorted(problems)))


def _inspected(contents: Contents) -> list[Path]:
    """Sub-folders that do not merely say something about others."""
    names = {folder.name.casefold() for folder in contents.folders}
    return [
        folder
        for folder in contents.folders
        if not _COMPANIONS.get(folder.name.casefold(), set()) & names
    ]


def _pictures(contents: Contents) -> tuple[Path, ...]:
    """Images of a folder without the planes that stand beside them under the part's number."""
    parts = {match[1] for image in contents.images if (match := _PART.fullmatch(image.name))}
    if not parts:
        return contents.images
    planes = ((image, _PLANE.fullmatch(image.name)) for image in contents.images)
    return tuple(image for image, plane in planes if plane is None or plane[1] not in parts)
