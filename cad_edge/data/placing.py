"""Where the paths of a stream file lead, and whether two of them lead to the same images."""

import os
from collections.abc import Mapping
from pathlib import Path

from cad_edge.data.folder import real_path
from cad_edge.errors import DatasetError

_LEARNED = {
    "mvtec": ("train",),
    "rgbd": ("train",),
    "mvtec3d": ("train", "validation"),
    "eyecandies": ("train", "val"),
    "instruction": (),
}
"""Folders below a product's that hold its good parts and no other's; else that is the product's."""


def stream_folders(file: Path) -> tuple[Path, ...]:
    """Folders that the paths of a stream file may be relative to, absolute.

    That is the folder it lies in; where the file itself is a link, also that of the file it leads
    to.
    """
    given = file.parent.absolute()
    target = real_path(file).parent
    return (given,) if real_path(given) == target else (given, target)


def placed(path: Path, folders: tuple[Path, ...], file: Path) -> Path:
    """Make a path of the stream file ``file`` absolute, which is relative to one of ``folders``.

    Raises
    ------
    DatasetError
        There is something else of that name in two of the folders.
    """
    found = list(dict.fromkeys(_without_dots(folder / path) for folder in folders))
    there = [place for place in found if os.path.exists(place)]  # noqa: PTH110 - it never raises
    if len({real_path(place) for place in there}) > 1:
        raise DatasetError(
            f"{file} is a link, and its {path} can be {there[0]} or {there[1]}; write the path in "
            "full, or give the file that the link leads to"
        )
    return (there or found)[0]


def _without_dots(path: Path) -> Path:
    """Take the steps back out of a path as the system takes them: from where links have led to.

    In a folder that is a link, ``..`` is the folder above the link's target and not that above
    the link.
    """
    place = Path(path.anchor)
    for part in path.parts[1:]:
        if part != "..":
            place /= part
        elif place.is_symlink():
            place = real_path(place).parent
        elif os.path.isdir(place):  # noqa: PTH112 - it never raises
            place = place.parent
        else:
            return path  # leads nowhere, which is said of it as it was written
    return place


def refuse_shared(products: Mapping[str, tuple[Path, str]], file: Path) -> None:
    """Refuse two tasks that learn from the same images.

    Folders are compared by what they are and not by their names, so that a link to a folder and a
    mount of it at another place are seen through.

    Parameters
    ----------
    products
        Folder and layout by the name of the task.
    file
        Stream file that names them.

    Raises
    ------
    DatasetError
        Two tasks have one folder, or one is learned from within what the other is learned from.
    """
    owners: dict[tuple[int, int], str] = {}
    for name, (product, _) in products.items():
        if (other := owners.setdefault(identity_of(product), name)) != name:
            raise DatasetError(
                f"{file} gives the folder {product} to the tasks {other} and {name}; give each "
                "product its own images"
            )
    learned = {
        identity_of(product / place): name
        for name, (product, layout) in products.items()
        for place in _LEARNED.get(layout, ("",))
    }
    for name, (product, layout) in products.items():
        places = [product, *(product / place for place in _LEARNED.get(layout, ()))]
        for above in {parent for place in places for parent in _with_parents(place)}:
            if (other := learned.get(identity_of(above), name)) != name:
                raise DatasetError(
                    f"{file} gives the task {name} the folder {product}, and the task {other} is "
                    f"learned from {above}, which holds it; give each product its own images"
                )


def _with_parents(place: Path) -> list[Path]:
    real = real_path(place)
    return [real, *real.parents]


def identity_of(place: Path) -> tuple[int, int]:
    """Tell a folder from all others; one that is not there is like no other."""
    try:
        found = place.stat()
    except OSError:
        return 0, hash(place)
    return found.st_dev, found.st_ino
