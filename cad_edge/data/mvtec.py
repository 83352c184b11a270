"""Readers for the layout of MVTec AD, and for a bare folder of good parts.

train/good/000.png                   layout mvtec (Bergmann et al., CVPR 2019)
test/{good,<defect>}/000.png
ground_truth/<defect>/000_mask.png
validation/good/000.png              MVTec LOCO AD has it: further good parts

000.png                              layout folder
"""

from pathlib import Path

from cad_edge.data.folder import images_in
from cad_edge.data.folder_names import refuse_other_names
from cad_edge.data.ground_truth import masks_of, refuse_loose_masks
from cad_edge.data.left_out import count_below, refuse_beside_good, refuse_deeper, refuse_left_out
from cad_edge.data.product import (
    GOOD,
    LabelledImage,
    ProductImages,
    good_parts,
    kinds_in,
    labelled_image,
)

_GROUPS = "write `group: folder` into the stream file if each is a group of parts; or "


def read_folder(path: Path, by_folder: bool = False) -> ProductImages:
    """List a folder of good parts, and with ``by_folder`` its sub-folders."""
    return ProductImages(train=good_parts(path, by_folder, _GROUPS))


def read_mvtec(path: Path, by_folder: bool = False) -> ProductImages:
    """List a product in the layout ``mvtec``.

    Parameters
    ----------
    path
        The product's folder, absolute.
    by_folder
        Whether good parts lie in a sub-folder for each group of them.

    Raises
    ------
    DatasetError
        There are no images of good parts, a mask has no image or an image two masks, an image
        has no label, or some would be left out.
    """
    refuse_other_names(path, ("train", "test", "validation", "ground_truth"))
    refuse_beside_good(path / "train")
    train = good_parts(path / "train" / GOOD, by_folder, _GROUPS)
    train += _validation(path / "validation", by_folder)
    masks = path / "ground_truth"
    kinds = kinds_in(path / "test")
    refuse_loose_masks(masks, kinds)
    test: list[LabelledImage] = []
    for kind in kinds:
        images = images_in(path / "test" / kind)
        refuse_deeper(path / "test" / kind)
        drawn = masks_of(masks / kind, images, kind)
        test += [labelled_image(image, kind, drawn.get(image)) for image in images]
    return ProductImages(train=train, test=tuple(test))


def _validation(folder: Path, by_folder: bool) -> tuple[Path, ...]:
    """Further good parts, as `rgbd_folders` says why."""
    if by_folder and count_below(folder):
        refuse_left_out([folder], folder.parent / "train" / GOOD)
    refuse_beside_good(folder)
    refuse_deeper(folder / GOOD)
    return images_in(folder / GOOD)
