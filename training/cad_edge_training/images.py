"""Images of a product, decoded to the size that a backbone takes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cad_edge.image import ImageRecipe, decode_image
from cad_edge_training.learned import Images, Progress


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
