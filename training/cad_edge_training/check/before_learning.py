"""What `cad-edge train` finds out about the images before it learns from them, and says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cad_edge.data.stream import StreamTask
from cad_edge.errors import DatasetError
from cad_edge_training.check.findings import Finding, counted, summary_lines
from cad_edge_training.check.product import CheckOptions, judged, see_product
from cad_edge_training.check.twin_products import ProductPictures, Twins, twin_products
from cad_edge_training.good_parts import GoodParts

SHARED = 0.5  # of the pictures of the smaller product, from which two products are one


@dataclass(frozen=True)
class Survey:
    """What was found out about products that are about to be learned."""

    parts: Mapping[str, GoodParts]
    """By task, those that could be looked at."""
    lines: tuple[str, ...]
    """To be said."""


def survey(tasks: Sequence[StreamTask], rate: float, check: bool = True, limit: int = 5) -> Survey:
    """Read the images of products once, look for copies, and say the gravest findings.

    Test images are held against training alone, and odd ones are named after learning, by their
    held-out scores. Findings do not stop the learning, which says itself what it cannot read.

    Parameters
    ----------
    tasks
        Products to be learned.
    rate
        Stated false-reject rate, in (0, 1).
    check
        Whether findings are said; without it no test image is opened.
    limit
        Most lines on findings.

    Raises
    ------
    DatasetError
        Two products have the same pictures.
    """
    found: list[Finding] = []
    parts: dict[str, GoodParts] = {}
    lines: list[str] = []
    pictures: list[ProductPictures] = []
    options = CheckOptions(None, rate, tests=False)
    try:
        for task in tasks:
            seen = see_product(task, None, "compared" if check else "closed", _silent)
            if check:
                found += judged(seen, options).findings
            parts[task.name] = GoodParts.of(seen)
            if len(tasks) > 1:
                pictures.append(ProductPictures.of(seen))
    except Exception as problem:  # whatever it is, learning goes on and meets it again or not
        lines = [f"the images were not all checked: {problem}"]
    shared = shared_lines(list(parts.values()))
    shared += [_twin_line(twins) for twins in twin_products(pictures)]
    return Survey(parts, (*summary_lines(found, limit - len(lines)), *lines, *shared))


def shared_lines(products: Sequence[GoodParts]) -> list[str]:
    """Name pictures that stand in two products, one line for each pair of them.

    Raises
    ------
    DatasetError
        They are half of a product's pictures or more, so that nothing tells the two apart.
    """
    first: dict[str, tuple[GoodParts, str]] = {}
    lines = []
    for product in products:
        if product.blank:
            continue  # refused when its turn comes
        pairs: dict[str, tuple[GoodParts, list[tuple[str, str]]]] = {}
        for pixels, name in product.distinct().items():
            other, twin = first.setdefault(pixels, (product, name))
            if other is not product:
                pairs.setdefault(other.task, (other, []))[1].append((name, twin))
        for other, named in pairs.values():
            lines.append(_shared_line(product, other, named))
    return lines


def _shared_line(product: GoodParts, other: GoodParts, named: Sequence[tuple[str, str]]) -> str:
    """Say which pictures two products share; raise DatasetError where they are too many."""
    name, twin = named[0]
    fewest = min(len(one.distinct()) for one in (product, other))
    example = f"for example {product.folder / name} is {other.folder / twin}"
    if len(named) >= SHARED * fewest:
        raise DatasetError(
            f"tasks {other.task} and {product.task} have {counted(len(named), 'picture')} of good "
            f"parts in common, {example}; nothing would tell the two products apart, so give each "
            "its own images"
        )
    return (
        f"warning: {product.task}: {counted(len(named), 'picture')} of good parts "
        f"{'is' if len(named) == 1 else 'are'} in {other.task} as well, {example}; keep each "
        "picture in the product that it shows"
    )


def _twin_line(twins: Twins) -> str:
    """Say which pictures of two products are near copies; raise where they are too many."""
    name, twin = twins.pairs[0]
    said = f"{counted(len(twins.pairs), 'picture')} of good parts"
    example = f"for example {name} is {twin}, encoded or cut otherwise"
    if twins.share >= SHARED:
        raise DatasetError(
            f"tasks {twins.other.task} and {twins.smaller.task} have {said} in common, {example}; "
            "nothing would tell the two products apart, so give each its own images"
        )
    return (
        f"warning: {twins.smaller.task}: {said} {'is' if len(twins.pairs) == 1 else 'are'} in "
        f"{twins.other.task} as well, {example}; keep each picture in the product that it shows"
    )


def _silent(doing: str, done: int, total: int) -> None:
    """Show nothing: a product takes a few seconds."""
