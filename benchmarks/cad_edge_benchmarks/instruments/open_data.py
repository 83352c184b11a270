"""The nine open categories as a stream: found by their folders, learned in alphabetical order."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.dataset import Layout
from cad_edge.data.product_folders import find_products
from cad_edge.errors import DatasetError, OptionError

REPOSITORY = Path(__file__).resolve().parents[3]
DATA_VARIABLE = "CAD_EDGE_DATA"

FALSE_REJECT_RATE = 0.05
"""Stated for every task: one good part in twenty is looked at again by a person. The smallest
category has 31 images of good parts, and 5 % is the smallest round rate that those support
(19 held-out scores are needed; 1 % would need 99)."""

WINDOWED = ("asphalt_b", "fabric_a")
"""Categories of several windows of each photograph, which therefore belong together."""
SOURCES = "SOURCES.csv"
"""Beside a category's images, where each of them comes from: photograph, @ and window."""


def data_folder(given: Path | None = None) -> Path:
    """Folder of the open categories: ``given``, else CAD_EDGE_DATA, else beside the repository.

    Raises
    ------
    DatasetError
        There is no such folder.
    """
    named = os.environ.get(DATA_VARIABLE)
    default = Path(named) if named else REPOSITORY.parent / "shared" / "data" / "open"
    folder = given or default
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} is not a folder; give the open categories by --data or {DATA_VARIABLE}"
        )
    return folder


def categories(folder: Path) -> dict[str, tuple[Path, Layout]]:
    """Folder and layout of every category below ``folder`` by name, in alphabetical order.

    Raises
    ------
    DatasetError
        There is none, or two have one name.
    """
    found = find_products(folder, ["*/*"])
    if not found:
        raise DatasetError(f"{folder} holds no <dataset>/<category>/train/good; give another one")
    return found


def chosen_categories(folder: Path, names: Sequence[str]) -> dict[str, tuple[Path, Layout]]:
    """Folder and layout of the categories ``names``, or of all without any, in alphabetical order.

    Raises
    ------
    OptionError
        A name is not a category.
    """
    known = categories(folder)
    if unknown := [name for name in names if name not in known]:
        raise OptionError(f"{unknown[0]} is not a category of {folder}; use {', '.join(known)}")
    return {name: place for name, place in known.items() if not names or name in names}


def write_stream(target: Path, folder: Path, names: Sequence[str] = ()) -> list[str]:
    """Write the stream file of the categories ``names`` (all without any); return their names.

    Raises
    ------
    OptionError
        A name is not a category.
    """
    chosen = chosen_categories(folder, names)
    stream = {
        "name": "open categories",
        "false_reject_rate": FALSE_REJECT_RATE,
        "tasks": [
            {"name": name, "path": str(path.resolve()), "layout": layout, **_grouped(name, path)}
            for name, (path, layout) in chosen.items()
        ],
    }
    target.write_text(json.dumps(stream, indent=1) + "\n", encoding="utf-8")
    return list(chosen)


def _grouped(name: str, path: Path) -> dict[str, object]:
    """Return what a task says of its groups; nothing where they are not known."""
    table = path.resolve() / SOURCES
    if name not in WINDOWED or not table.is_file():
        return {}
    return {"group": {"table": str(table), "group_column": "source", "pattern": "^[^@]+"}}
