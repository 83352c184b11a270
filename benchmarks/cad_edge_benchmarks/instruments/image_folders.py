"""Folders of images that a measurement puts together: links, and drawn defects with masks."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.image import Frame
from cad_edge.data.product import LabelledImage
from cad_edge.heatmap import write_png


def write_defective(
    product: Path, kind: str, name: str, rgb: Frame, mask: NDArray[np.bool_]
) -> LabelledImage:
    """Write a test image with a defect, and its mask, where the layout ``mvtec`` has them.

    Parameters
    ----------
    product
        Folder of the product.
    kind, name
        Kind of defect, and name of the image without its ending.
    rgb
        (h, w, 3) uint8.
    mask
        (h, w) bool, True where the defect is.
    """
    image = product / "test" / kind / f"{name}.png"
    truth = product / "ground_truth" / kind / f"{name}_mask.png"
    drawn = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    for path, pixels in ((image, rgb), (truth, drawn)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, pixels)
    return LabelledImage(image, kind, truth)


def link_image(source: Path, place: Path) -> None:
    """Link a file or folder ``source`` as ``place``; copy it where there are no links.

    Raises
    ------
    FileExistsError
        There is something at ``place``; it may be a link to another image, through which a copy
        would be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.symlink_to(source.resolve(), source.is_dir())
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        if source.is_dir():
            shutil.copytree(source, place)
        else:
            shutil.copyfile(source, place)
