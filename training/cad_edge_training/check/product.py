"""Checking a product: its files are read once, and every kind of finding is looked for."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from cad_edge.data.dataset import read_product
from cad_edge.data.product import GOOD, LabelledImage, ProductImages
from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError
from cad_edge_training.backbones import Backbone
from cad_edge_training.check.copies import Copies, copy_findings, find_copies
from cad_edge_training.check.evidence import evidence_findings, supported_rate
from cad_edge_training.check.exposure import exposure_findings
from cad_edge_training.check.files import DecodedImage, ImageSource, UnreadableImage, decode_images
from cad_edge_training.check.findings import Finding, ImageFacts, ProductCheck, gravest_first
from cad_edge_training.check.formats import format_findings, unreadable_findings
from cad_edge_training.check.masks import mask_findings
from cad_edge_training.check.outlier_findings import outlier_findings
from cad_edge_training.check.outliers import OutlierRanking, rank_outliers
from cad_edge_training.learned import Progress


@dataclass(frozen=True)
class CheckOptions:
    """How the images of a product are checked."""

    backbone: Backbone
    rate: float
    """Stated false-reject rate, in (0, 1)."""
    tests: bool = True
    """Whether test images are checked in their own right, or only held against training."""
    outliers: bool = True
    """Whether good parts are ranked by how odd they are, which takes as long as all else."""


@dataclass(frozen=True)
class _Listed:
    """What the reader says of a product, and the sentences with which it refused something."""

    product: ProductImages
    groups: tuple[str, ...] | None
    refused: tuple[str, ...]


@dataclass(frozen=True)
class _Images:
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


def check_product(task: StreamTask, options: CheckOptions, progress: Progress) -> ProductCheck:
    """Look at all images of a product.

    Test images take part in nothing but the search for copies and what is said of themselves.

    Parameters
    ----------
    task
        Product of a stream.
    options
        Backbone and rate.
    progress
        Called as images are read.
    """
    start = time.monotonic()
    listed = _list(task)
    images = _read(listed, options, progress)
    outliers = _outliers(images, task.views, options)
    copies = find_copies(images.train, images.test)
    distinct = min(copies.distinct(len(images.good)), images.parts)
    independent = distinct if images.n_groups is None else min(distinct, images.n_groups)
    refused = [
        Finding(task=task.name, kind="folder", level="error", said=said) for said in listed.refused
    ]
    return ProductCheck(
        task=task.name,
        path=task.path,
        train=len(images.good),
        distinct=copies.distinct(len(images.good)),
        test_good=sum(one.source.label == GOOD for one in images.test),
        test_defective=sum(one.source.label != GOOD for one in images.test),
        groups=images.n_groups,
        supported_rate=supported_rate(independent),
        findings=tuple(
            gravest_first([*refused, *_findings(task, images, outliers, copies, options)])
        ),
        images=_facts(images, outliers, options),
        seconds=round(time.monotonic() - start, 3),
    )


def _list(task: StreamTask) -> _Listed:
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
    return _Listed(product, groups, tuple(refused))


def _sources(product: ProductImages) -> list[ImageSource]:
    """Every image of a product, of several views each one."""
    good = [LabelledImage(views[0], more=views[1:]) for views in product.train_views()]
    learned = [*good, *product.defective]
    return [
        ImageSource(path, part < len(learned), item.label, part, item.mask)
        for part, item in enumerate([*learned, *product.test])
        for path in item.views
    ]


def _read(listed: _Listed, options: CheckOptions, progress: Progress) -> _Images:
    """Decode all images of a product."""
    sources = _sources(listed.product)
    recipe = options.backbone.recipe
    read = decode_images(sources, recipe, lambda done: progress("images", done, len(sources)))
    seen = [one for one in read if isinstance(one, DecodedImage)]
    unread = [one for one in read if isinstance(one, UnreadableImage)]
    good = tuple(one for one in seen if one.source.learned and one.source.label == GOOD)
    names = listed.groups
    return _Images(
        good=good,
        # Good parts are numbered first, in the order of their groups.
        groups=None if names is None else tuple(names[one.source.part] for one in good),
        defective=tuple(one for one in seen if one.source.learned and one.source.label != GOOD),
        test=tuple(one for one in seen if not one.source.learned),
        unread=tuple(one for one in unread if options.tests or one.source.learned),
    )


def _outliers(images: _Images, views: int, options: CheckOptions) -> OutlierRanking:
    """Judge the good parts; views of one part do not vouch for each other."""
    if not options.outliers:
        return OutlierRanking(np.zeros(len(images.good)), np.zeros(len(images.good)))
    backbone = options.backbone
    pixels = [one.pixels for one in images.good if one.pixels is not None]
    groups: Sequence[str] | None = images.groups
    if groups is None and views > 1:
        groups = [str(one.source.part) for one in images.good]
    shape = (0, backbone.recipe.height, backbone.recipe.width, 3)
    shown = np.stack(pixels) if pixels else np.zeros(shape, np.uint8)
    return rank_outliers(shown, backbone, groups)


def _findings(
    task: StreamTask,
    images: _Images,
    outliers: OutlierRanking,
    copies: Copies,
    options: CheckOptions,
) -> list[Finding]:
    name, root = task.name, task.path
    own = (*images.train, *images.test) if options.tests else images.train
    distinct = min(copies.distinct(len(images.good)), images.parts)
    return [
        *unreadable_findings(name, root, images.unread),
        *copy_findings(name, root, (images.train, images.test), copies, images.groups),
        *format_findings(name, root, own),
        *exposure_findings(name, images.good, images.groups),
        *outlier_findings(name, root, images.good, outliers),
        *(mask_findings(name, root, images.test) if options.tests else ()),
        *evidence_findings(name, distinct, images.n_groups, options.rate),
    ]


def _facts(
    images: _Images, outliers: OutlierRanking, options: CheckOptions
) -> tuple[ImageFacts, ...]:
    """Lay out what was measured of every image, good parts first."""
    own = (*images.train, *images.test) if options.tests else images.train
    odd = outliers.robust_z.tolist()
    groups = images.groups or ()
    return tuple(
        ImageFacts(
            path=one.source.path,
            part="train" if one.source.learned else "test",
            label=one.source.label,
            group=groups[number] if number < len(groups) else None,
            width=one.size[1],
            height=one.size[0],
            mode=one.mode,
            mean=round(one.mean, 3),
            black=round(one.black, 5),
            white=round(one.white, 5),
            suspicion=round(odd[number], 3) if number < len(odd) else None,
        )
        for number, one in enumerate(own)
    )
