"""The nine open categories as a stream: found by their folders, learned in alphabetical order."""

import os
from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.dataset import Layout
from cad_edge.data.grouping import GroupRule
from cad_edge.data.product_folders import find_products
from cad_edge.data.stream import Stream, StreamTask
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


def categories(folder: Path, names: Sequence[str] = ()) -> dict[str, tuple[Path, Layout]]:
    """Folder and layout of the categories ``names``, or of all without any, in alphabetical order.

    Raises
    ------
    DatasetError
        There is no category, or two have one name.
    OptionError
        A name is not a category.
    """
    known = find_products(folder, ["*/*"])
    if not known:
        raise DatasetError(f"{folder} holds no <dataset>/<category>/train/good; give another one")
    if unknown := [name for name in names if name not in known]:
        raise OptionError(f"{unknown[0]} is not a category of {folder}; use {', '.join(known)}")
    return {name: place for name, place in known.items() if not names or name in names}


def open_stream(folder: Path, names: Sequence[str] = ()) -> Stream:
    """Return the `categories` ``names`` as a stream; errors are theirs."""
    tasks = [
        StreamTask(name=name, path=path.resolve(), layout=layout, group=_group(name, path))
        for name, (path, layout) in categories(folder, names).items()
    ]
    return Stream(name="open categories", false_reject_rate=FALSE_REJECT_RATE, tasks=tasks)


def write_stream(target: Path, folder: Path, names: Sequence[str] = ()) -> list[str]:
    """Write the `open_stream` of ``names`` as a stream file; return the names of its tasks."""
    stream = open_stream(folder, names)
    target.write_text(stream.model_dump_json(indent=1, exclude_defaults=True), encoding="utf-8")
    return [task.name for task in stream.tasks]


def _group(name: str, path: Path) -> GroupRule | None:
    """Return how the group of an image is told; None where groups are not known."""
    table = path.resolve() / SOURCES
    if name not in WINDOWED or not table.is_file():
        return None
    return GroupRule(table=table, group_column="source", pattern="^[^@]+")
