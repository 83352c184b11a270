"""Checking a product: its files are read once, and every kind of finding is looked for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cad_edge.data.image import ImageRecipe
from cad_edge.data.product import GOOD
from cad_edge.data.stream import StreamTask
from cad_edge_training.backbones import Backbone
from cad_edge_training.check.copies import Copies, copy_findings, find_copies
from cad_edge_training.check.evidence import evidence_findings, supported_rate
from cad_edge_training.check.exposure import exposure_findings
from cad_edge_training.check.findings import Finding, ImageFacts, ProductCheck, gravest_first
from cad_edge_training.check.formats import format_findings, unreadable_findings
from cad_edge_training.check.masks import mask_findings
from cad_edge_training.check.outlier_findings import outlier_findings
from cad_edge_training.check.outliers import OutlierRanking, rank_outliers
from cad_edge_training.check.product_images import (
    CheckedImages,
    ListedProduct,
    Tests,
    list_product,
    read_listed,
)
from cad_edge_training.learned import Progress


@dataclass(frozen=True)
class CheckOptions:
    """How the images of a product are checked."""

    backbone: Backbone | None
    """By which good parts are ranked by how odd they are, which takes as long as all else; None:
    they are not."""
    rate: float
    """Stated false-reject rate, in (0, 1)."""
    tests: bool = True
    """Whether test images are checked in their own right, or only held against training."""


@dataclass(frozen=True)
class SeenProduct:
    """The images of a product as they were read once, and which of them are copies."""

    task: StreamTask
    listed: ListedProduct
    images: CheckedImages
    copies: Copies
    seconds: float


def see_product(
    task: StreamTask, recipe: ImageRecipe | None, tests: Tests, progress: Progress
) -> SeenProduct:
    """Read all images of a product, and look for copies.

    Parameters
    ----------
    task
        Product of a stream.
    recipe
        At which pixels are kept; None: they are not.
    tests
        What happens to test images. They have no say in which good parts are copies.
    progress
        Called as images are read.
    """
    start = time.monotonic()
    listed = list_product(task)
    images = read_listed(listed, recipe, tests, progress)
    copies = find_copies(images.train, images.test)
    return SeenProduct(task, listed, images, copies, time.monotonic() - start)


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
    recipe = None if options.backbone is None else options.backbone.recipe
    tests: Tests = "checked" if options.tests else "compared"
    return judged(see_product(task, recipe, tests, progress), options)


def judged(seen: SeenProduct, options: CheckOptions) -> ProductCheck:
    """Look for every kind of finding in images that were read."""
    start = time.monotonic()
    task, images, copies = seen.task, seen.images, seen.copies
    outliers = _outliers(images, task.views, options)
    distinct = min(copies.distinct(len(images.good)), images.parts)
    independent = distinct if images.n_groups is None else min(distinct, images.n_groups)
    refused = [
        Finding(task=task.name, kind="folder", level="error", said=said)
        for said in seen.listed.refused
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
        seconds=round(seen.seconds + time.monotonic() - start, 3),
    )


def _outliers(images: CheckedImages, views: int, options: CheckOptions) -> OutlierRanking:
    """Judge the good parts; views of one part do not vouch for each other."""
    backbone = options.backbone
    if backbone is None:
        return OutlierRanking(np.zeros(len(images.good)), np.zeros(len(images.good)))
    pixels = [one.pixels for one in images.good if one.pixels is not None]
    groups: Sequence[str] | None = images.groups
    if groups is None and views > 1:
        groups = [str(one.source.part) for one in images.good]
    shape = (0, backbone.recipe.height, backbone.recipe.width, 3)
    shown = np.stack(pixels) if pixels else np.zeros(shape, np.uint8)
    return rank_outliers(shown, backbone, groups)


def _findings(
    task: StreamTask,
    images: CheckedImages,
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
    images: CheckedImages, outliers: OutlierRanking, options: CheckOptions
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
