"""The findings for a terminal, and the words that page and terminal share."""

from typing import TYPE_CHECKING

from cad_edge_benchmarks.reporting.tables import percent

if TYPE_CHECKING:
    from cad_edge_training.check.findings import CheckReport, ProductCheck

TITLES = {
    "leak": "Test images that are in training",
    "unreadable": "Files that give no image",
    "folder": "Folders",
    "mask": "Masks that cannot be used",
    "copies_across_groups": "Copies in different groups",
    "copies": "Copies among the good parts",
    "blank": "Images that show nothing",
    "modes": "Kinds of pixels that differ",
    "suspects": "Odd ones among the good parts",
    "drift": "Light that drifts",
    "sizes": "Sizes that differ",
    "mask_inverted": "Masks that may be inverted",
    "masks_missing": "Masks that are missing",
    "too_few": "Too few good parts",
}
"""Headings by kind of finding."""


def terminal(report: "CheckReport") -> str:
    """Lay out a few lines for each product, the gravest first."""
    parts = []
    for product in report.products:
        lines = [f"{product.task}: {facts(product, report.false_reject_rate)}"]
        lines += [f"  {one.level:<8}{one.said}" for one in product.findings]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, headline(report)])


def facts(product: "ProductCheck", rate: float) -> str:
    """Count the images of a product, and say which rate they support."""
    groups = "" if product.groups is None else f" in {product.groups} groups"
    copies = "" if product.distinct == product.train else f" ({product.distinct} different)"
    said = f"{product.train} good images{copies}{groups}"
    if product.supported_rate is not None:
        said += f", enough for {percent(product.supported_rate)} false rejects or more"
        said += f" ({percent(rate)} stated)"
    return f"{said}; test: {product.test_good} good, {product.test_defective} defective"


def headline(report: "CheckReport") -> str:
    """Say how many findings there are."""
    counts = report.counts()
    said = [
        f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}"
        for level in ("error", "warning")
        if counts[level]
    ]
    products = f"{len(report.products)} product{'' if len(report.products) == 1 else 's'}"
    return f"{' and '.join(said) if said else 'Nothing is wrong'} in the images of {products}."
