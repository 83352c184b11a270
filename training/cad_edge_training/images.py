"""Images of a product, decoded to the size that a backbone takes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cad_edge.data.depth import to_size
from cad_edge.data.depth_files import decode_depth
from cad_edge.data.image import ImageRecipe, decode_image, image_size
from cad_edge.errors import ImageError
from cad_edge_training.learned import Images, Planes, Progress


def read_images(paths: Sequence[Path], recipe: ImageRecipe, progress: Progress) -> Images:
    """Decode images, (n, height, width, 3) uint8; n may be 0."""
    images = np.empty((len(paths), recipe.height, recipe.width, 3), dtype=np.uint8)
    for number, path in enumerate(paths):
        images[number] = recipe.apply(decode_image(path))
        progress("images", number + 1, len(paths))
    return images


def read_samples(
    samples: Sequence[Sequence[Path]], views: int, recipe: ImageRecipe, progress: Progress
) -> Images:
    """Decode samples of ``views`` images each; for one view as `read_images` gives them."""
    images = read_images([path for sample in samples for path in sample], recipe, progress)
    return images if views == 1 else images.reshape(len(samples), views, *images.shape[1:])


def read_planes(
    paths: Sequence[Path], images: Sequence[Path], recipe: ImageRecipe, progress: Progress
) -> Planes:
    """Decode depth, (n, height, width) float32 with 0 for no measurement.

    Raises
    ------
    ImageError
        A file cannot be used, has another size than its image, or holds no measurement.
    """
    planes = np.empty((len(paths), recipe.height, recipe.width), dtype=np.float32)
    for number, (path, image) in enumerate(zip(paths, images, strict=True)):
        plane, size = decode_depth(path), image_size(image)
        if plane.shape != size:
            raise ImageError(
                f"{path} is {plane.shape[1]}x{plane.shape[0]} px but its image {image} is "
                f"{size[1]}x{size[0]} px; register them to one size"
            )
        if not plane.any():
            raise ImageError(f"{path} holds no measurement; remove it with its image")
        planes[number] = to_size(plane, recipe)
        progress("depth", number + 1, len(paths))
    return planes
