"""Finding products by their folders: every ``train/good`` below a folder."""

from collections.abc import Sequence
from pathlib import Path

from cad_edge.dataset import GOOD, Layout
from cad_edge.errors import DatasetError


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
    for pattern in patterns:
        for good in folder.glob(f"{pattern}/train/{GOOD}"):
            product = good.parent.parent
            if product.name in found:
                raise DatasetError(f"{folder} holds two products named {product.name}; rename one")
            found[product.name] = (product, layout_of(product))
    return dict(sorted(found.items()))


def layout_of(product: Path) -> Layout:
    """``rgbd`` where colour and depth lie apart, else ``mvtec``."""
    return "rgbd" if (product / "train" / GOOD / "rgb").is_dir() else "mvtec"
