"""Reader for the layout of VisA: the split is a CSV file beside the products' folders.

visa/candle/Data/Images/...
     split_csv/1cls.csv                 columns object, split, label, image, mask
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from cad_edge.data.folder import found_file, key_of
from cad_edge.data.product import LabelledImage, ProductImages
from cad_edge.data.text_file import TABLE_BYTES, read_text
from cad_edge.errors import DatasetError


def read_visa(path: Path) -> ProductImages:
    """List the images of a product by the split file beside it.

    Parameters
    ----------
    path
        The product's folder, absolute, beside ``split_csv``.

    Raises
    ------
    DatasetError
        The split file is not there or cannot be read, has a row that cannot be used, names an image
        that does not exist or comes twice, or no image of good parts.
    """
    table = path.parent / "split_csv" / "1cls.csv"
    train: list[Path] = []
    test: list[LabelledImage] = []
    for number, row in _rows(table):
        if key_of(row["object"]) != key_of(path.name):
            continue
        where = f"{table} line {number}"
        image = _listed(path.parent, row["image"], where)
        mask = _listed(path.parent, row["mask"], where) if row["mask"] else None
        match row["split"], row["label"]:
            case "train", "normal":
                train.append(image)
            case "test", "normal":
                test.append(LabelledImage(image))
            case "test", "anomaly":
                test.append(LabelledImage(image, defect="anomaly", mask=mask))
            case split, label:
                raise DatasetError(
                    f"{where} has split {split!r} with label {label!r}; "
                    "use train with normal, or test with normal or anomaly"
                )
    _once([*train, *(item.path for item in test)], table)
    if not train:
        raise DatasetError(f"{table} lists no training images for {path.name}; check the name")
    return ProductImages(
        train=tuple(sorted(train)),
        test=tuple(sorted(test, key=lambda item: (item.anomalous, item.path))),
    )


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows of a VisA split file with their line numbers."""
    columns = ("object", "split", "label", "image", "mask")
    try:
        with io.StringIO(read_text(table, TABLE_BYTES), newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            rows = [
                (reader.line_num, {name: (row.get(name) or "").strip() for name in columns})
                for row in reader
            ]
    except FileNotFoundError:
        raise DatasetError(
            f"{table} does not exist; layout visa needs split_csv/1cls.csv beside the product"
        ) from None
    except OSError as problem:
        raise DatasetError(
            f"{table} cannot be read: {problem.strerror}; give the CSV file of the split"
        ) from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DatasetError(f"{table} cannot be read as CSV ({problem}); save it again") from None
    if missing:
        raise DatasetError(
            f"{table} lacks the column {', '.join(missing)}; use {', '.join(columns)}"
        )
    return rows


def _listed(root: Path, name: str, where: str) -> Path:
    path = found_file(root, name) if name else None
    if path is None:
        raise DatasetError(f"{where} names {name or 'no image'}, which does not exist; correct it")
    return path


def _once(paths: Iterable[Path], table: Path) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise DatasetError(f"{table} lists {path} twice; keep one line for each image")
        seen.add(path)
