"""Products whose parts are shown in several views: which images belong together.

A folder of views stands where an image of the part would stand, and its images are the views in the
order of their names. There are no masks: what looks at several views locates nothing.
"""

from pathlib import Path

from cad_edge.data.folder import folders_in, images_in
from cad_edge.data.folder_names import refuse_other_names
from cad_edge.data.left_out import count_below, refuse_beside_good, refuse_deeper
from cad_edge.data.product import GOOD, LabelledImage, ProductImages, kinds_in
from cad_edge.errors import DatasetError

Views = tuple[Path, ...]
"""The images of one part, at least two."""


def read_views(path: Path, layout: str, views: int) -> ProductImages:
    """List the parts of a product.

    Parameters
    ----------
    path
        The product's folder, absolute.
    layout
        ``mvtec``, ``folder`` or ``instruction``.
    views
        Images of every part, at least two.

    Raises
    ------
    DatasetError
        The layout has one image for each part, a part has another number of views, or there is no
        good part.
    """
    if layout == "instruction":
        from cad_edge.data.instruction import read_instructions

        return read_instructions(path, views)
    if layout == "folder":
        return _product(_good_parts(path, views), ())
    if layout != "mvtec":
        raise DatasetError(
            f"layout {layout} has one image of each part; leave `views` out, or use mvtec, folder "
            "or instruction"
        )
    refuse_other_names(path, ("train", "test", "validation"))
    refuse_beside_good(path / "train")
    refuse_beside_good(path / "validation")
    train = _good_parts(path / "train" / GOOD, views) + _parts(path / "validation" / GOOD, views)
    test = [
        LabelledImage(part[0], None if kind == GOOD else kind, more=part[1:])
        for kind in kinds_in(path / "test")
        for part in _parts(path / "test" / kind, views)
    ]
    return _product(train, tuple(test))


def _product(train: tuple[Views, ...], test: tuple[LabelledImage, ...]) -> ProductImages:
    return ProductImages(
        train=tuple(part[0] for part in train),
        train_more=tuple(part[1:] for part in train),
        test=test,
    )


def _good_parts(folder: Path, views: int) -> tuple[Views, ...]:
    parts = _parts(folder, views)
    if not parts:
        state = "holds no folder of views" if folder.is_dir() else "does not exist"
        raise DatasetError(
            f"{folder} {state}; put a folder of {views} images there for every good part"
        )
    return parts


def _parts(folder: Path, views: int) -> tuple[Views, ...]:
    """Parts of a folder, by the names of theirs; an empty folder is passed over."""
    if loose := images_in(folder):
        raise DatasetError(
            f"{loose[0]} is one image where the task has views: {views}; put the {views} images of "
            "a part into a folder of their own, or leave `views` out"
        )
    found = [(part, images_in(part)) for part in folders_in(folder)]
    for part, images in found:
        if images:
            refuse_deeper(part)
        elif count := count_below(part):
            raise DatasetError(
                f"{part} holds folders with {count} images and none itself, so that they would be "
                f"left out; move the folder of each part into {folder}"
            )
        if images and len(images) != views:
            raise DatasetError(
                f"{part} holds {len(images)} image{'s' if len(images) > 1 else ''} where the task "
                f"has views: {views}; give every part {views}"
            )
    return tuple(images for _, images in found if images)
