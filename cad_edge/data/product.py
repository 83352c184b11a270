"""The images of one product as its folders name them: good parts, defects, ground truth masks.

Only names are read here; a file is decoded when someone needs its pixels. Every listing is sorted,
so that a seed gives the same result on every file system.
"""

from dataclasses import dataclass
from pathlib import Path

from cad_edge.data.image_formats import SUFFIXES
from cad_edge.errors import DatasetError

GOOD = "good"


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
    """Depth of the same view, a file as `cad_edge.data.depth_files` reads it."""
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
    """One per training image and in the same order; empty for layouts without depth."""
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


def good_parts(folder: Path, by_folder: bool = False) -> tuple[Path, ...]:
    """Images of a folder of good parts, and of its sub-folders; DatasetError where there are none.

    Sub-folders are read ``by_folder`` alone.
    """
    images = images_in(folder)
    if by_folder:
        for group in folders_in(folder):
            refuse_deeper(group)
            images += images_in(group)
    if not images:
        state = "holds no images" if folder.is_dir() else "does not exist"
        raise DatasetError(
            f"{folder} {state}; put the images of good parts there ({', '.join(sorted(SUFFIXES))})"
        )
    return images


def refuse_deeper(folder: Path) -> None:
    """Raise DatasetError for images that nobody would read; a group is one folder of good parts."""
    for deeper in folders_in(folder):
        if lost := images_in(deeper):
            raise DatasetError(
                f"{lost[0]} is not read, since groups are the sub-folders of the good parts to "
                f"learn from and have none themselves; move it into {folder}"
            )


def labelled_image(
    image: Path, kind: str, mask: Path | None, depth: Path | None = None
) -> LabelledImage:
    """Make a test image of what lies in the folder ``kind``."""
    return LabelledImage(image, None if kind == GOOD else kind, mask, depth)


def kinds_in(test: Path) -> list[str]:
    """Folders of ``test``, the good one first; images beside them have no label."""
    if loose := images_in(test):
        raise DatasetError(f"{loose[0]} has no label; move it into test/good or test/<defect>")
    names = [folder.name for folder in folders_in(test)]
    return sorted(names, key=lambda name: (name != GOOD, name))


def masks_of(folder: Path, images: tuple[Path, ...], kind: str) -> dict[str, Path]:
    """Masks of one kind of defect by the stem of their image; good parts have none."""
    if kind == GOOD:
        return {}
    return match_masks(images_in(folder), {image.stem: image for image in images}, folder)


def match_masks(masks: tuple[Path, ...], images: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Give every mask its image by their stems; DatasetError for one without an image, or twice."""
    matched: dict[str, Path] = {}
    for mask in masks:
        stem = mask.stem if mask.stem in images else mask.stem.removesuffix("_mask")
        if stem not in images:
            raise DatasetError(f"{mask} has no image; add the {folder.name} image or remove it")
        if stem in matched:
            raise DatasetError(f"{mask} and {matched[stem].name} mask one image; keep one of them")
        matched[stem] = mask
    return matched


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
