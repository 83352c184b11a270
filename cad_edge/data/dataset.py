"""The images of a product in any of the folder layouts that products come in."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from cad_edge.data.eyecandies import read_eyecandies
from cad_edge.data.instruction import read_instructions
from cad_edge.data.mvtec import read_folder, read_mvtec
from cad_edge.data.product import GOOD, ProductImages
from cad_edge.data.rgbd_folders import read_mvtec3d, read_rgbd
from cad_edge.data.views import read_views
from cad_edge.data.visa import read_visa
from cad_edge.errors import DatasetError

Layout: TypeAlias = Literal[
    "mvtec", "visa", "folder", "rgbd", "mvtec3d", "eyecandies", "instruction"
]

GOOD_FOLDERS = {"mvtec": f"train/{GOOD}", "folder": ""}
"""Where good parts lie below the product's folder, of layouts that can have them in sub-folders."""

_READERS: dict[str, Callable[[Path], ProductImages]] = {
    "mvtec": read_mvtec,
    "visa": read_visa,
    "folder": read_folder,
    "rgbd": read_rgbd,
    "mvtec3d": read_mvtec3d,
    "eyecandies": read_eyecandies,
    "instruction": lambda folder: read_instructions(folder, 1),
}


def read_product(
    path: Path, layout: str = "mvtec", views: int = 1, by_folder: bool = False
) -> ProductImages:
    """List the images of a product.

    Parameters
    ----------
    path
        The product's folder; for ``visa`` one beside the folder ``split_csv``.
    layout
        One of `Layout`; docs/data.md draws them.
    views
        How many images show each part; where there are several, a folder of them stands in the
        place of an image. For ``mvtec``, ``folder`` and ``instruction``.
    by_folder
        Whether good parts to learn from lie in a sub-folder for each group of them. For ``mvtec``
        and ``folder`` with one view.

    Raises
    ------
    DatasetError
        No images of good parts, a folder that is not there, files that contradict each other, or a
        part with another number of views.
    """
    if layout not in get_args(Layout):
        known = ", ".join(get_args(Layout))
        raise DatasetError(f"layout {layout!r} is not known; use one of {known}")
    path = path.absolute()
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder; give the folder of the product's images")
    if by_folder:
        if layout not in GOOD_FOLDERS or views > 1:
            known = " and ".join(GOOD_FOLDERS)
            raise DatasetError(f"sub-folders of groups go with the layouts {known} and one view")
        return read_mvtec(path, by_folder) if layout == "mvtec" else read_folder(path, by_folder)
    if views > 1:
        return read_views(path, layout, views)
    return _READERS[layout](path)
