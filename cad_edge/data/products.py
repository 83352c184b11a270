"""The products of a command: a stream file, one product's folder, or a folder of such folders."""

import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cad_edge.data.dataset import Layout, read_product
from cad_edge.data.folder import folders_in, images_in
from cad_edge.data.product import GOOD
from cad_edge.data.product_folders import find_products, is_product, layout_of, refuse_outside
from cad_edge.data.stream import Stream, StreamTask, read_stream
from cad_edge.errors import DatasetError
from cad_edge.schema import TaskName

DEFAULT_RATE = 0.05
"""Stated false-reject rate of folders; a stream file states its own."""

STREAM_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""Endings of stream files."""

_VISA = Path("split_csv") / "1cls.csv"


def read_products(place: Path, rate: float = DEFAULT_RATE) -> Stream:
    """Read a stream file, or make a stream of the products that lie in a folder.

    Parameters
    ----------
    place
        What the option ``--stream`` names. Products of a folder are learned in the order of their
        names; their layouts are known by their folders.
    rate
        False-reject rate of the products of a folder.

    Raises
    ------
    DatasetError
        There is no product, the stream file cannot be used, or a folder's name cannot name a task.
    """
    if is_stream_file(place):
        return read_stream(place)
    if place.is_dir():
        return _stream_of(place.absolute(), rate)
    if os.path.lexists(place):
        raise DatasetError(
            f"--stream {place} is neither a file nor a folder; give a stream file, a product's "
            "folder or a folder of such folders"
        )
    raise DatasetError(
        f"--stream {place} does not exist; give a stream file, a product's folder or a folder of "
        "such folders"
    )


def is_stream_file(path: Path) -> bool:
    """Whether a path is that of a file, there or not, and not of a folder."""
    return path.is_file() or (path.suffix.lower() in STREAM_SUFFIXES and not path.is_dir())


def _stream_of(folder: Path, rate: float) -> Stream:
    found = _find(folder)
    if not found:
        raise DatasetError(
            f"--stream {folder} holds no product: neither train/{GOOD} nor train/data nor folders "
            "with one of them nor images; docs/data.md draws the layouts"
        )
    for name, (path, _) in found.items():
        _check_name(name, path)
    tasks = [
        StreamTask(name=name, path=path, layout=layout) for name, (path, layout) in found.items()
    ]
    return Stream(name=folder.name, false_reject_rate=rate, tasks=tasks)


def _find(folder: Path) -> dict[str, tuple[Path, Layout]]:
    if is_product(folder):
        return {folder.name: (folder, layout_of(folder))}
    if (folder.parent / _VISA).is_file():
        return {folder.name: (folder, "visa")}
    if (folder / _VISA).is_file():
        products = [path for path in folders_in(folder) if (path / "Data").is_dir()]
        if products:
            refuse_outside(folder, products)
        return {path.name: (path, "visa") for path in products}
    found = find_products(folder, ["*", "*/*"])
    if found:
        refuse_outside(folder, [path for path, _ in found.values()])
    return found or _images_alone(folder)


def _images_alone(folder: Path) -> dict[str, tuple[Path, Layout]]:
    if not images_in(folder):
        return {}
    product = folder.parent.parent
    if folder.name == GOOD and is_product(product):
        raise DatasetError(
            f"--stream {folder} is one folder of the product {product}, not the product; give "
            f"--stream {product}, or a stream file with `layout: folder` and a name"
        )
    read_product(folder, "folder")
    return {folder.name: (folder, "folder")}


def _check_name(name: str, path: Path) -> None:
    try:
        TypeAdapter(TaskName).validate_python(name)
    except ValidationError:
        raise DatasetError(
            f"{path} cannot name a task; rename it with up to 64 letters, digits, '_', '.' and "
            "'-', or give a stream file"
        ) from None
