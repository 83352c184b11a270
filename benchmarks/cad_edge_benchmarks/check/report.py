"""The findings as a report: tables for everybody, and for the page the images that show them."""

from typing import TYPE_CHECKING

from cad_edge_benchmarks.check.evidence import contact_sheet, evidence
from cad_edge_benchmarks.reporting.document import Block, Cell, Document, Figure, Section, Table
from cad_edge_benchmarks.reporting.plots import BAD, GOOD, SOFT, plot
from cad_edge_benchmarks.reporting.tables import UNDEFINED, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cad_edge_training.check.findings import CheckReport, ProductCheck

_NARROWEST = 16.0  # grey levels; less would make noise look like a drift
_STYLES = {"error": "miss", "warning": "warning", "note": "none"}
_HEAD = ("product", "good", "different", "groups", "test", "supported", "errors", "warnings")


def check_document(report: "CheckReport") -> Document:
    """Lay out a report, product by product."""
    return Document(
        f"cad-edge check of {report.stream}",
        headline(report),
        (_overview(report),),
        tuple(Section(one.task, one.task, tuple(_product(one))) for one in report.products),
    )


def headline(report: "CheckReport") -> str:
    """Say how many findings there are."""
    counts = report.counts()
    parts = [
        f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}"
        for level in ("error", "warning")
        if counts[level]
    ]
    products = f"{len(report.products)} product{'' if len(report.products) == 1 else 's'}"
    return f"{' and '.join(parts) if parts else 'Nothing is wrong'} in the images of {products}."


def _overview(report: "CheckReport") -> Table:
    rows: list[list[str | Cell]] = []
    for product in report.products:
        levels = [one.level for one in product.findings]
        enough = (product.supported_rate or 1) <= report.false_reject_rate
        rows.append(
            [
                product.task,
                str(product.train),
                str(product.distinct),
                UNDEFINED if product.groups is None else str(product.groups),
                f"{product.test_good} + {product.test_defective}",
                Cell(percent(product.supported_rate), "" if enough else "miss"),
                *(
                    Cell(str(levels.count(level)), _STYLES[level if level in levels else "note"])
                    for level in ("error", "warning")
                ),
            ]
        )
    note = (
        "Good parts to learn from, of them different ones, and their groups; test: good + "
        "defective; supported: the lowest false-reject rate for which these are enough, where "
        f"{percent(report.false_reject_rate)} is stated."
    )
    return Table(_HEAD, rows, note)


def _product(product: "ProductCheck") -> list[Block]:
    rows: list[list[str | Cell]] = [
        [Cell(one.level, _STYLES[one.level]), f"{one.said[:1].upper()}{one.said[1:]}."]
        for one in product.findings
    ]
    blocks: list[Block] = [Table(("", ""), rows, is_list=True)] if rows else ["Nothing was found."]
    blocks += [evidence(one, product.path) for one in product.findings if one.exhibits]
    good = [image for image in product.images if image.part == "train" and image.label == "good"]
    if len(good) > 1:
        drifts = any(one.kind == "drift" for one in product.findings)
        blocks.append(_brightness([image.mean for image in good], drifts))
    return [*blocks, contact_sheet([image.path for image in good])] if good else blocks


def _brightness(levels: list[float], drifts: bool) -> Figure:
    """Draw one dot for each image, in the order of their names; red ones if they drift."""
    middle = (min(levels) + max(levels)) / 2
    half = max(max(levels) - min(levels), _NARROWEST) / 2 * 1.1

    def draw(axes: "Axes") -> None:
        axes.plot(levels, ".", color=BAD if drifts else GOOD, alpha=0.75, markersize=8)
        axes.set_ylim(middle - half, middle + half)
        axes.set_xticks([0, len(levels) - 1], ["first file", "last file"])
        axes.set_ylabel("grey levels", color=SOFT)

    return Figure(
        plot(
            draw,
            (620, 180),
            f"mean brightness of {len(levels)} images in the order of their files",
        ),
        "Mean brightness of the good parts, in the order of their files.",
    )
