"""Held-out good parts, and copies of them with local and with structural synthetic defects.

What methods are compared on: no test image has a part in it.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from cad_edge.data.image import Frame, decode_image
from cad_edge.data.product import LabelledImage
from cad_edge_benchmarks.instruments.image_folders import write_defective

LOCAL, STRUCTURAL = "local", "structural"
KINDS = (LOCAL, STRUCTURAL)
"""Groups of synthetic defects; an image's label is one of them."""

COPIES = 3
"""Copies of a part for each group: one for each of its kinds of defect."""


def local_and_structural(image: Path, other: Path, place: Path, seed: int) -> list[LabelledImage]:
    """Write copies of a held-out part with a defect each, and their masks.

    Parameters
    ----------
    image, other
        Two good parts of a product; structural defects take pieces of the other one.
    place
        Folder of the product, in the layout ``mvtec``.
    seed
        Of the defects.

    Raises
    ------
    ImageError
        An image cannot be read.
    """
    from cad_edge_training.structural import structural_defects
    from cad_edge_training.synthetic import synthetic_defects

    rgb = decode_image(image)
    images = np.repeat(rgb[None], COPIES, axis=0)
    others = np.repeat(_as_large(decode_image(other), rgb)[None], COPIES, axis=0)
    drawn = {
        LOCAL: synthetic_defects(images, seed),
        STRUCTURAL: structural_defects(images, others, seed),
    }
    return [
        write_defective(place, kind, f"{image.stem}-{n}", damaged[n], masks[n])
        for kind, (damaged, masks) in drawn.items()
        for n in range(COPIES)
    ]


def _as_large(image: Frame, other: Frame) -> Frame:
    """Resize an image, where it differs, to the size of another."""
    height, width = other.shape[:2]
    if image.shape == other.shape:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height)))
