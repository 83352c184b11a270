"""Which mask belongs to which image: by the names of their files.

ground_truth/<defect>/000.png        a mask has its image's name,
                      000_mask.png   or that with an ending,
                      000/000.png    or several share a folder of that name (MVTec LOCO AD); what
                      000/001.png    any of them marks is defective
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cad_edge.data.folder import folders_in, images_in, key_of
from cad_edge.data.image_formats import SUFFIXES
from cad_edge.data.left_out import GOOD, refuse_deeper
from cad_edge.errors import DatasetError

ENDINGS = ("_mask", "_gt", "_ground_truth", "_groundtruth")
"""What may follow the image's name in that of its mask, in letters of either case."""


def masks_of(folder: Path, images: Sequence[Path], kind: str) -> dict[Path, Path]:
    """Masks of one kind of defect by their image; good parts have none.

    Parameters
    ----------
    folder
        Where the masks lie.
    images
        Test images of that kind.
    kind
        ``good`` or the kind of defect.

    Returns
    -------
    dict
        From image to the file of its mask, or to the folder that holds several.

    Raises
    ------
    DatasetError
        A mask has no image, an image two masks, or two images share one.
    """
    if kind == GOOD:
        return {}
    named: dict[str, list[Path]] = {}
    for image in images:
        named.setdefault(key_of(image.stem), []).append(image)
    matched: dict[Path, Path] = {}
    for mask in _masks(folder):
        stem = _stem(mask, named)
        if stem is None:
            raise DatasetError(f"{mask} has no image; add the {kind} image or remove it")
        first, *others = named[stem]
        if others:
            raise DatasetError(
                f"{first} and {others[0].name} have one name, suffixes aside, and one mask "
                f"({mask}); rename one of the images, and give it a mask of its own name"
            )
        if first in matched:
            raise DatasetError(f"{mask} and {matched[first].name} mask one image; keep one of them")
        matched[first] = mask
    return matched


def mask_files(mask: Path) -> tuple[Path, ...]:
    """Files of a mask: itself, or those of the folder that it is.

    Raises
    ------
    DatasetError
        The folder holds none.
    """
    files = images_in(mask) if mask.is_dir() else (mask,)
    if not files:
        raise DatasetError(f"{mask} holds no mask; put the masks of its image there")
    return files


def refuse_loose_masks(folder: Path, kinds: Iterable[str]) -> None:
    """Raise DatasetError for masks that lie in no folder of a kind of defect that is tested."""
    if loose := images_in(folder):
        raise DatasetError(
            f"{loose[0]} lies in no folder of a kind of defect; move it into {folder}/<defect>"
        )
    known = {GOOD, *kinds}
    for place in folders_in(folder):
        if place.name not in known:
            masks_of(place, (), place.name)


def _masks(folder: Path) -> list[Path]:
    """Files and folders that mask an image."""
    several = folders_in(folder)
    for place in several:
        mask_files(place)
        refuse_deeper(place)
    return [*images_in(folder), *several]


def _stem(mask: Path, images: Iterable[str]) -> str | None:
    """Name of the image that a mask belongs to; None where there is none."""
    name = mask.stem if mask.suffix.lower() in SUFFIXES else mask.name
    name = key_of(name)
    shorter = [name[: -len(end)] for end in ENDINGS if name.casefold().endswith(end)]
    return next((one for one in (name, *shorter) if one in images), None)
