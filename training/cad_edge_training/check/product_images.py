"""Every image of a product, read once: what its folders name, and what its files show."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from cad_edge.data.dataset import read_product
from cad_edge.data.image import ImageRecipe
from cad_edge.data.product import GOOD, LabelledImage, ProductImages
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError
from cad_edge_training.check.files import DecodedImage, ImageSource, UnreadableImage, decode_images
from cad_edge_training.learned import Progress

Tests = Literal["checked", "compared", "closed"]
"""Whether test images are checked, only held against training, or not opened."""


@dataclass(frozen=True)
class ListedProduct:
    """What the reader says of a product, and the sentences with which it refused something."""

    product: ProductImages
    groups: tuple[str, ...] | None
    refused: tuple[str, ...]


@dataclass(frozen=True)
class CheckedImages:
    """Images that could be read, by what they are for, and files that could not."""

    good: tuple[DecodedImage, ...]
    groups: tuple[str, ...] | None
    """One for each of ``good``."""
    defective: tuple[DecodedImage, ...]
    """Labelled images to learn from."""
    test: tuple[DecodedImage, ...]
    unread: tuple[UnreadableImage, ...]

    @property
    def train(self) -> tuple[DecodedImage, ...]:
        """Everything that may be learned from, good parts first."""
        return self.good + self.defective

    @property
    def parts(self) -> int:
        """How many good parts there are, of several views each or of one."""
        return len({one.source.part for one in self.good})

    @property
    def n_groups(self) -> int | None:
        """How many groups the good parts stand in, where groups are stated."""
        return None if self.groups is None else len(set(self.groups))


def list_product(task: StreamTask) -> ListedProduct:
    """Read the folders; what the reader refuses is a finding, and the good parts are kept."""
    refused: list[str] = []
    product = ProductImages(train=())
    try:
        product = task.samples()
    except DatasetError as problem:
        refused.append(str(problem))
        good = task.path / "train" / GOOD
        if task.layout == "mvtec" and good.is_dir():
            with suppress(DatasetError):  # what is wrong with them has just been said
                product = read_product(good, "folder", task.views)
    groups: tuple[str, ...] | None = None
    if product.train:
        try:
            groups = task.groups(product)
        except DatasetError as problem:
            refused.append(str(problem))
    return ListedProduct(product, groups, tuple(refused))


def _sources(product: ProductImages) -> list[ImageSource]:
    """Every image of a product, of several views each one."""
    good = [LabelledImage(views[0], more=views[1:]) for views in product.train_views()]
    learned = [*good, *product.defective]
    return [
        ImageSource(path, part < len(learned), item.label, part, item.mask)
        for part, item in enumerate([*learned, *product.test])
        for path in item.views
    ]


def read_listed(
    listed: ListedProduct, recipe: ImageRecipe | None, tests: Tests, progress: Progress
) -> CheckedImages:
    """Decode all images of a product; their pixels are kept at ``recipe``, if there is one."""
    sources = [one for one in _sources(listed.product) if one.learned or tests != "closed"]
    read = decode_images(sources, recipe, lambda done: progress("images", done, len(sources)))
    seen = [one for one in read if isinstance(one, DecodedImage)]
    unread = [one for one in read if isinstance(one, UnreadableImage)]
    good = tuple(one for one in seen if one.source.learned and one.source.label == GOOD)
    names = listed.groups
    return CheckedImages(
        good=good,
        # Good parts are numbered first, in the order of their groups.
        groups=None if names is None else tuple(names[one.source.part] for one in good),
        defective=tuple(one for one in seen if one.source.learned and one.source.label != GOOD),
        test=tuple(one for one in seen if not one.source.learned),
        unread=tuple(one for one in unread if tests == "checked" or one.source.learned),
    )
