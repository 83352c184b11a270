"""Finding products by their folders: every ``train/good`` or ``train/data`` below a folder."""

from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.dataset import Layout
from cad_edge.data.product import GOOD
from cad_edge.errors import DatasetError

_LEARNED = (f"train/{GOOD}", "train/data")


def find_products(folder: Path, patterns: Sequence[str]) -> dict[str, tuple[Path, Layout]]:
    """Folder and layout of every product below ``folder`` by name, in alphabetical order.

    Parameters
    ----------
    folder
        Where to look.
    patterns
        Where a product lies below it, as for `Path.glob`, for example ``*`` or ``*/*``.

    Raises
    ------
    DatasetError
        Two products have one name.
    """
    found: dict[str, tuple[Path, Layout]] = {}
    places = [
        place
        for pattern in patterns
        for learned in _LEARNED
        for place in folder.glob(f"{pattern}/{learned}")
    ]
    for product in dict.fromkeys(place.parents[1] for place in places):
        if product.name in found:
            raise DatasetError(f"{folder} holds two products named {product.name}; rename one")
        found[product.name] = (product, layout_of(product))
    return dict(sorted(found.items()))


def is_product(folder: Path) -> bool:
    """Whether images of good parts lie where one of the layouts has them."""
    return any((folder / learned).is_dir() for learned in _LEARNED)


def layout_of(product: Path) -> Layout:
    """Layout of a product by the folders that hold its images of good parts."""
    good = product / "train" / GOOD
    if (good / "xyz").is_dir():
        return "mvtec3d"
    if (good / "rgb").is_dir():
        return "rgbd"
    eyecandies = not good.is_dir() and (product / "train" / "data").is_dir()
    return "eyecandies" if eyecandies else "mvtec"
