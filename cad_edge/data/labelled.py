"""Learning from labelled images: all images of a product dealt into training and test by a seed.

The layouts name a training part of good images and a labelled test part. A method that is shown
defects while it learns (CL-Anomaly, arXiv 2607.02930, deals 8:2 per data set) needs a division of
its own; this is it, and everything that measures asks for the same one.
"""

from pydantic import Field

from cad_edge.data.product import LabelledImage, ProductImages
from cad_edge.errors import DatasetError
from cad_edge.schema import Record


class LabelledSplit(Record):
    """How the labelled images of a task are dealt."""

    test_share: float = Field(default=0.2, gt=0, lt=1, description="share that only measures")
    seed: int = Field(default=0, ge=0, description="of the deal")


def split_labelled(product: ProductImages, split: LabelledSplit) -> ProductImages:
    """Pool all images of a product and deal them at random into training and test.

    The deal depends on the names of the images and the seed, so that it is the same on every
    machine and for every reader.

    Raises
    ------
    DatasetError
        Nothing would be left to learn from or to test on.
    """
    import numpy as np

    if product.train_depth or any(item.depth is not None for item in product.test):
        raise DatasetError("labelled images with depth cannot be dealt; leave `labelled` out")
    pool = sorted(
        [
            *(LabelledImage(views[0], more=views[1:]) for views in product.train_views()),
            *product.defective,
            *product.test,
        ],
        key=lambda item: item.views,
    )
    order = np.random.default_rng(split.seed).permutation(len(pool))
    tested = {int(number) for number in order[: round(len(pool) * split.test_share)]}
    train = [item for number, item in enumerate(pool) if number not in tested]
    test = [item for number, item in enumerate(pool) if number in tested]
    good = [item for item in train if not item.anomalous]
    if not good or not test:
        raise DatasetError(
            f"{len(pool)} labelled images dealt with test_share {split.test_share} leave "
            f"{len(good)} good ones to learn from and {len(test)} to test on; give more images"
        )
    return ProductImages(
        train=tuple(item.path for item in good),
        train_more=tuple(item.more for item in good if item.more),
        defective=tuple(item for item in train if item.anomalous),
        test=tuple(sorted(test, key=lambda item: (item.anomalous, item.label, item.path))),
    )
