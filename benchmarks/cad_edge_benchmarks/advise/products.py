"""The products that are asked about: a stream file, one product's folder, or a folder of them."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cad_edge.data.dataset import Layout, read_product
from cad_edge.data.product import GOOD
from cad_edge.data.stream import Stream, StreamTask, read_stream
from cad_edge.errors import DatasetError
from cad_edge.schema import TaskName
from cad_edge_benchmarks.instruments.open_data import FALSE_REJECT_RATE
from cad_edge_benchmarks.instruments.product_folders import (
    STREAM_SUFFIXES,
    find_products,
    is_product,
    layout_of,
)

_VISA = Path("split_csv") / "1cls.csv"


def read_products(data: Path) -> Stream:
    """Read a stream file, or make a stream of the products that lie in a folder.

    Raises
    ------
    DatasetError
        There is no product, one cannot be read, or its folder's name cannot name a task.
    """
    if data.is_file() or data.suffix.lower() in STREAM_SUFFIXES:
        stream = read_stream(data)
    elif data.is_dir():
        stream = _stream_of(data.absolute())
    else:
        raise DatasetError(
            f"--stream {data} does not exist; give a stream file, a product's folder or a folder "
            "of them"
        )
    for task in stream.tasks:
        task.images()
    return stream


def _stream_of(data: Path) -> Stream:
    found = _find(data)
    if not found:
        raise DatasetError(
            f"--stream {data} holds no product: neither train/{GOOD} nor train/data nor folders "
            "with one of them nor images; docs/data.md draws the layouts"
        )
    for name, (path, _) in found.items():
        _check_name(name, path)
    tasks = [
        StreamTask(name=name, path=path, layout=layout) for name, (path, layout) in found.items()
    ]
    return Stream(name=data.name, false_reject_rate=FALSE_REJECT_RATE, tasks=tasks)


def _find(data: Path) -> dict[str, tuple[Path, Layout]]:
    if is_product(data):
        return {data.name: (data, layout_of(data))}
    if (data.parent / _VISA).is_file():
        return {data.name: (data, "visa")}
    if (data / _VISA).is_file():
        folders = sorted(path.parent for path in data.glob("*/Data") if path.is_dir())
        return {path.name: (path, "visa") for path in folders}
    found = find_products(data, ["*", "*/*"])
    return found or _images_alone(data)


def _images_alone(data: Path) -> dict[str, tuple[Path, Layout]]:
    try:
        read_product(data, "folder")
    except DatasetError:
        return {}
    return {data.name: (data, "folder")}


def _check_name(name: str, path: Path) -> None:
    try:
        TypeAdapter(TaskName).validate_python(name)
    except ValidationError:
        raise DatasetError(
            f"{path} cannot name a task; rename it with up to 64 letters, digits, '_', '.' and "
            "'-', or give a stream file"
        ) from None
