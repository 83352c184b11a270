"""Finding products by their folders: every ``train/good`` or ``train/data`` below a folder."""

from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.dataset import Layout
from cad_edge.data.folder import folders_in
from cad_edge.data.left_out import GOOD, refuse_other_good
from cad_edge.data.placing import identity_of
from cad_edge.errors import DatasetError

_LEARNED = (f"train/{GOOD}", "train/data")


def find_products(folder: Path, patterns: Sequence[str]) -> dict[str, tuple[Path, Layout]]:
    """Folder and layout of every product below ``folder`` by name, in alphabetical order.

    Parameters
    ----------
    folder
        Where to look.
    patterns
        Where a product lies below it: ``*`` for its folders, ``*/*`` for those in its folders.

    Raises
    ------
    DatasetError
        Two products have one name, one is there under two names, a folder cannot be read, or good
        parts lie in a folder of another name than ``good``.
    """
    found: dict[str, tuple[Path, Layout]] = {}
    names: dict[tuple[int, int], str] = {}
    places = [place for pattern in patterns for place in _below(folder, pattern.count("/") + 1)]
    for product in filter(is_product, places):
        real = identity_of(product)
        if names.get(real) == product.name:
            continue  # a link to where it was found before
        if real in names:
            raise DatasetError(
                f"{product} and {found[names[real]][0]} are one folder, and would be learned as "
                "two products; remove the link"
            )
        if product.name in found:
            raise DatasetError(f"{folder} holds two products named {product.name}; rename one")
        names[real] = product.name
        found[product.name] = (product, layout_of(product))
    return dict(sorted(found.items()))


def _below(folder: Path, depth: int) -> list[Path]:
    """Folders that lie so many steps below one; links come last."""
    places = [folder]
    for _ in range(depth):
        places = [inner for place in places for inner in folders_in(place)]
    return sorted(places, key=lambda place: place.is_symlink())


def is_product(folder: Path) -> bool:
    """Whether images of good parts lie where one of the layouts has them.

    Raises
    ------
    DatasetError
        They lie in a folder of another name, such as ``train/OK``.
    """
    if any((folder / learned).is_dir() for learned in _LEARNED):
        return True
    if (folder / "train").is_dir():
        refuse_other_good(folders_in(folder / "train"))
    return False


def layout_of(product: Path) -> Layout:
    """Layout of a product by the folders that hold its images of good parts."""
    good = product / "train" / GOOD
    if (good / "xyz").is_dir():
        return "mvtec3d"
    if (good / "rgb").is_dir():
        return "rgbd"
    eyecandies = not good.is_dir() and (product / "train" / "data").is_dir()
    return "eyecandies" if eyecandies else "mvtec"
