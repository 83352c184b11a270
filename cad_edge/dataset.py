"""Readers for the folder layouts that products come in: which images, which masks, which labels.

Only names are read here; a file is decoded when someone needs its pixels. Every listing is sorted,
so that a seed gives the same result on every file system.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from cad_edge.errors import DatasetError

Layout: TypeAlias = Literal["mvtec", "visa", "folder", "rgbd", "instruction"]

GOOD = "good"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class LabelledImage:
    """One test image with what is known about it."""

    path: Path
    """The image; of several views the first."""
    defect: str | None = None
    """Kind of defect, None for a good part."""
    mask: Path | None = None
    """Where the defect is, if anyone drew it."""
    depth: Path | None = None
    """16-bit depth of the same view (layout rgbd)."""
    more: tuple[Path, ...] = ()
    """Further views of the same part, in their order."""

    @property
    def views(self) -> tuple[Path, ...]:
        """All images of the part."""
        return (self.path, *self.more)

    @property
    def label(self) -> str:
        """``good`` or the kind of defect."""
        return self.defect or GOOD

    @property
    def anomalous(self) -> bool:
        """Whether the part has a defect."""
        return self.defect is not None


@dataclass(frozen=True)
class ProductImages:
    """The images of one product."""

    train: tuple[Path, ...]
    """Images of good parts to learn from, at least one; of several views the first."""
    train_depth: tuple[Path, ...] = ()
    """One per training image and in the same order (layout rgbd), otherwise empty."""
    test: tuple[LabelledImage, ...] = ()
    """Good ones first, then by kind of defect; empty for layout folder."""
    defective: tuple[LabelledImage, ...] = ()
    """Labelled training images with a defect, for methods that learn from them."""
    train_more: tuple[tuple[Path, ...], ...] = ()
    """Further views of each good part and in the same order; empty where parts have one view."""

    def train_views(self) -> tuple[tuple[Path, ...], ...]:
        """Return all images of each good part to learn from."""
        further = self.train_more or ((),) * len(self.train)
        return tuple((first, *more) for first, more in zip(self.train, further, strict=True))


def read_product(path: Path, layout: str = "mvtec", views: int = 1) -> ProductImages:
    """List the images of a product.

    Parameters
    ----------
    path
        The product's folder; for ``visa`` one beside the folder ``split_csv``.
    layout
        ``mvtec``, ``visa``, ``folder``, ``rgbd`` or ``instruction``; docs/data.md draws them.
    views
        How many images show each part; where there are several, a folder of them stands in the
        place of an image. For ``mvtec``, ``folder`` and ``instruction``.

    Raises
    ------
    DatasetError
        No images of good parts, a folder that is not there, files that contradict each other, or a
        part with another number of views.
    """
    if layout not in get_args(Layout):
        raise DatasetError(f"layout {layout!r} is not known; use one of {_said(get_args(Layout))}")
    path = path.absolute()
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder; give the folder of the product's images")
    readers = {
        "mvtec": _mvtec,
        "visa": _visa,
        "folder": _folder,
        "rgbd": _rgbd,
        "instruction": _instruction,
    }
    if views > 1:
        from cad_edge.views import read_views

        return read_views(path, layout, views)
    return readers[layout](path)


def _instruction(path: Path) -> ProductImages:
    from cad_edge.instruction import read_instructions

    return read_instructions(path, 1)


def _folder(path: Path) -> ProductImages:
    return ProductImages(train=_good_parts(path))


def _mvtec(path: Path) -> ProductImages:
    train = _good_parts(path / "train" / GOOD)
    masks = path / "ground_truth"
    kinds = kinds_in(path / "test")
    for folder in folders_in(masks):
        if folder.name != GOOD and folder.name not in kinds:
            _match_masks(images_in(folder), {}, folder)
    test: list[LabelledImage] = []
    for kind in kinds:
        images = images_in(path / "test" / kind)
        drawn = _masks(masks / kind, images, kind)
        test += [_labelled(image, kind, drawn.get(image.stem)) for image in images]
    return ProductImages(train=train, test=tuple(test))


def _rgbd(path: Path) -> ProductImages:
    train_folder = path / "train" / GOOD
    train = _good_parts(train_folder / "rgb")
    train_depth = _depths(train_folder / "depth", train)
    test: list[LabelledImage] = []
    for kind in kinds_in(path / "test"):
        folder = path / "test" / kind
        images = images_in(folder / "rgb")
        depths = _depths(folder / "depth", images)
        drawn = _masks(folder / "gt", images, kind)
        test += [
            _labelled(image, kind, drawn.get(image.stem), depth)
            for image, depth in zip(images, depths, strict=True)
        ]
    return ProductImages(train=train, train_depth=train_depth, test=tuple(test))


def _visa(path: Path) -> ProductImages:
    table = path.parent / "split_csv" / "1cls.csv"
    train: list[Path] = []
    test: list[LabelledImage] = []
    for number, row in _rows(table):
        if row["object"] != path.name:
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
        with table.open(newline="", encoding="utf-8-sig") as file:
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
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise DatasetError(f"{table} cannot be read as CSV ({problem}); save it again") from None
    if missing:
        raise DatasetError(f"{table} lacks the column {_said(missing)}; use {_said(columns)}")
    return rows


def _listed(root: Path, name: str, where: str) -> Path:
    path = root / name
    if not name or not path.is_file():
        raise DatasetError(f"{where} names {name or 'no image'}, which does not exist; correct it")
    return path


def _once(paths: Iterable[Path], table: Path) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise DatasetError(f"{table} lists {path} twice; keep one line for each image")
        seen.add(path)


def _good_parts(folder: Path) -> tuple[Path, ...]:
    images = images_in(folder)
    if not images:
        state = "holds no images" if folder.is_dir() else "does not exist"
        raise DatasetError(
            f"{folder} {state}; put the images of good parts there ({_said(sorted(SUFFIXES))})"
        )
    return images


def _labelled(
    image: Path, kind: str, mask: Path | None, depth: Path | None = None
) -> LabelledImage:
    return LabelledImage(image, None if kind == GOOD else kind, mask, depth)


def kinds_in(test: Path) -> list[str]:
    """Folders of ``test``, the good one first; images beside them have no label."""
    if loose := images_in(test):
        raise DatasetError(f"{loose[0]} has no label; move it into test/good or test/<defect>")
    names = [folder.name for folder in folders_in(test)]
    return sorted(names, key=lambda name: (name != GOOD, name))


def _masks(folder: Path, images: tuple[Path, ...], kind: str) -> dict[str, Path]:
    """Masks of one kind of defect by the stem of their image; good parts have none."""
    if kind == GOOD:
        return {}
    return _match_masks(images_in(folder), {image.stem: image for image in images}, folder)


def _match_masks(masks: tuple[Path, ...], images: dict[str, Path], folder: Path) -> dict[str, Path]:
    matched: dict[str, Path] = {}
    for mask in masks:
        stem = mask.stem if mask.stem in images else mask.stem.removesuffix("_mask")
        if stem not in images:
            raise DatasetError(f"{mask} has no image; add the {folder.name} image or remove it")
        if stem in matched:
            raise DatasetError(f"{mask} and {matched[stem].name} mask one image; keep one of them")
        matched[stem] = mask
    return matched


def _depths(folder: Path, images: tuple[Path, ...]) -> tuple[Path, ...]:
    """Depth of each image, by stem; both sides must be complete."""
    depths = {depth.stem: depth for depth in images_in(folder)}
    for image in images:
        if image.stem not in depths:
            raise DatasetError(
                f"{image} has no depth image in {folder}; add it or remove the image"
            )
    if extra := sorted(set(depths) - {image.stem for image in images}):
        raise DatasetError(f"{depths[extra[0]]} has no rgb image; add it or remove the depth image")
    return tuple(depths[image.stem] for image in images)


def images_in(folder: Path) -> tuple[Path, ...]:
    """Image files of a folder by name; hidden and other files are passed over.

    A link to nothing is listed, so that decoding it says so; passed over, it would go unnoticed.
    """
    return tuple(
        path for path in _entries(folder) if path.suffix.lower() in SUFFIXES and not path.is_dir()
    )


def folders_in(folder: Path) -> list[Path]:
    """Folders of a folder by name, hidden ones aside."""
    return [path for path in _entries(folder) if path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """Visible entries of a folder, sorted by name; none where there is no folder."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as problem:
        raise DatasetError(f"{folder} cannot be read: {problem.strerror}") from None
    return sorted(found, key=lambda path: path.name)


def _said(words: Iterable[str]) -> str:
    return ", ".join(words)
