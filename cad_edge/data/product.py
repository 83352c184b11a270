"""The images of one product as its folders name them: good parts, defects, ground truth masks."""

from dataclasses import dataclass
from pathlib import Path

from cad_edge.data.folder import folders_in, images_in, real_path
from cad_edge.data.ground_truth import mask_files
from cad_edge.data.image_formats import SUFFIXES
from cad_edge.data.left_out import GOOD as GOOD
from cad_edge.data.left_out import refuse_deeper, refuse_other_good
from cad_edge.errors import DatasetError


@dataclass(frozen=True)
class LabelledImage:
    """One test image with what is known about it."""

    path: Path
    """The image; of several views the first."""
    defect: str | None = None
    """Kind of defect, None for a good part."""
    mask: Path | None = None
    """Where the defect is, if anyone drew it: a file, or a folder of files that add up."""
    depth: Path | None = None
    """Depth of the same view, a file as `cad_edge.data.depth_files` reads it."""
    more: tuple[Path, ...] = ()
    """Further views of the same part, in their order."""

    @property
    def views(self) -> tuple[Path, ...]:
        """All images of the part."""
        return (self.path, *self.more)

    def mask_files(self) -> tuple[Path, ...]:
        """Return the files that the mask consists of, none where there is no mask."""
        return () if self.mask is None else mask_files(self.mask)

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


def good_parts(folder: Path, by_folder: bool = False, remedy: str = "") -> tuple[Path, ...]:
    """Images of a folder of good parts, and with ``by_folder`` of its sub-folders.

    Parameters
    ----------
    folder
        Of good parts.
    by_folder
        Whether they lie in a sub-folder for each group of them.
    remedy
        What can be done where they do and ``by_folder`` is not set.

    Raises
    ------
    DatasetError
        There are none, or some lie where they would be left out.
    """
    images = images_in(folder)
    if by_folder:
        groups: dict[Path, Path] = {}
        for group in folders_in(folder):
            if (other := groups.setdefault(real_path(group), group)) != group:
                raise DatasetError(
                    f"{other} and {group} are one folder, and a group is one; remove the link"
                )
            refuse_deeper(group)
            images += images_in(group)
    else:
        refuse_deeper(folder, remedy)
    if not images:
        state = "holds no images" if folder.is_dir() else "does not exist"
        raise DatasetError(
            f"{folder} {state}; put the images of good parts there ({', '.join(sorted(SUFFIXES))})"
        )
    return images


def labelled_image(
    image: Path, kind: str, mask: Path | None, depth: Path | None = None
) -> LabelledImage:
    """Make a test image of what lies in the folder ``kind``."""
    return LabelledImage(image, None if kind == GOOD else kind, mask, depth)


def kinds_in(test: Path) -> list[str]:
    """Folders of ``test``, the good one first.

    Raises
    ------
    DatasetError
        Images lie beside them, which have no label; or good parts lie in a folder of another name,
        which would make them defective ones.
    """
    if loose := images_in(test):
        raise DatasetError(f"{loose[0]} has no label; move it into test/good or test/<defect>")
    folders = folders_in(test)
    refuse_other_good(folders)
    return sorted((folder.name for folder in folders), key=lambda name: (name != GOOD, name))
