"""Readers for the layout of MVTec AD, and for a bare folder of good parts.

train/good/000.png                   layout mvtec (Bergmann et al., CVPR 2019)
test/{good,<defect>}/000.png
ground_truth/<defect>/000_mask.png

000.png                              layout folder
"""

from pathlib import Path

from cad_edge.data.product import (
    GOOD,
    LabelledImage,
    ProductImages,
    folders_in,
    good_parts,
    images_in,
    kinds_in,
    labelled_image,
    masks_of,
    match_masks,
    refuse_deeper,
)


def read_folder(path: Path, by_folder: bool = False) -> ProductImages:
    """List a folder of good parts, and with ``by_folder`` its sub-folders."""
    return ProductImages(train=good_parts(path, by_folder))


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
        There are no images of good parts, a mask has no image or an image two masks, or an image
        has no label.
    """
    train = good_parts(path / "train" / GOOD, by_folder)
    masks = path / "ground_truth"
    kinds = kinds_in(path / "test")
    for folder in folders_in(masks):
        if folder.name != GOOD and folder.name not in kinds:
            match_masks(images_in(folder), {}, folder)
    test: list[LabelledImage] = []
    for kind in kinds:
        images = images_in(path / "test" / kind)
        if by_folder:
            refuse_deeper(path / "test" / kind)
        drawn = masks_of(masks / kind, images, kind)
        test += [labelled_image(image, kind, drawn.get(image.stem)) for image in images]
    return ProductImages(train=train, test=tuple(test))
