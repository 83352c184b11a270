"""The findings as one HTML page that needs nothing beside it, neither files nor a network."""

from pathlib import Path
from typing import TYPE_CHECKING

from cad_edge_benchmarks.check.plot import brightness_plot
from cad_edge_benchmarks.check.text import TITLES, facts, headline
from cad_edge_benchmarks.reporting.html_page import STYLE, Cell, escape, page, style_sheet, table
from cad_edge_benchmarks.reporting.tables import percent
from cad_edge_benchmarks.reporting.thumbnails import LARGE, MIDDLE, SMALL, mask_thumbnail, thumbnail

if TYPE_CHECKING:
    from cad_edge_training.check.findings import CheckReport, EvidenceImages, Finding, ProductCheck

OPEN, MOST = 12, 60  # exhibits of a finding that are shown at once, and after a click
SHEET = 240  # good parts on a contact sheet
BESIDE = 6  # copies of one picture that are shown
MASKED = ("mask", "mask_inverted")
"""Findings whose exhibits are an image and its mask."""

STYLES = {"error": "wrong", "warning": "partly", "note": "right"}


def render(report: "CheckReport") -> str:
    """Write the whole page."""
    contents = "".join(
        f'<a href="#{escape(product.task)}">{escape(product.task)}</a>'
        for product in report.products
    )
    products = "".join(_product(product, report.false_reject_rate) for product in report.products)
    return page(
        f"cad-edge check: {escape(report.stream)}",
        style_sheet(STYLE) + style_sheet("page.css", package=__package__),
        f"<header><h1>cad-edge check of {escape(report.stream)}</h1>"
        f'<p class="headline">{escape(headline(report))}</p><nav>{contents}</nav></header>'
        f"{_overview(report)}{products}<p><small>cad-edge {escape(report.version)}</small></p>",
    )


def _overview(report: "CheckReport") -> str:
    head = ["product", "good images", "different", "groups", "test: good + defective"]
    head += ["false rejects supported", "errors", "warnings"]
    rows: list[list[str | Cell]] = []
    for product in report.products:
        levels = [one.level for one in product.findings]
        enough = (product.supported_rate or 1) <= report.false_reject_rate
        rows.append(
            [
                product.task,
                str(product.train),
                str(product.distinct),
                "-" if product.groups is None else str(product.groups),
                f"{product.test_good} + {product.test_defective}",
                Cell(percent(product.supported_rate), "" if enough else "miss"),
                _count(levels.count("error"), "miss"),
                _count(levels.count("warning"), "warn"),
            ]
        )
    stated = percent(report.false_reject_rate)
    return f"<section>{table(head, rows)}<p class='legend'>Stated: {stated}.</p></section>"


def _count(number: int, style: str) -> Cell:
    return Cell(str(number), style if number else "none")


def _product(product: "ProductCheck", rate: float) -> str:
    findings = "".join(_finding(one, product.path) for one in product.findings)
    if not findings:
        findings = '<p class="none">Nothing was found.</p>'
    return (
        f'<section id="{escape(product.task)}"><h2>{escape(product.task)}</h2>'
        f"<p>{escape(facts(product, rate))}.</p>{findings}{_brightness(product)}{_sheet(product)}"
        "</section>"
    )


def _finding(finding: "Finding", root: Path) -> str:
    """Show a finding with its images, the first ones at once and some more after a click."""
    shown = [_exhibit(one, finding.kind, root) for one in finding.exhibits[:MOST]]
    cards = f'<div class="exhibits {finding.kind}">{"".join(shown[:OPEN])}</div>' if shown else ""
    if rest := shown[OPEN:]:
        more = len(finding.exhibits) - OPEN
        left = f", the first {len(rest)} of them" if more > len(rest) else ""
        cards += (
            f"<details><summary>{more} more{left}</summary>"
            f'<div class="exhibits {finding.kind}">{"".join(rest)}</div></details>'
        )
    return (
        f'<article class="product"><h3><span class="verdict {STYLES[finding.level]}">'
        f"{finding.level}</span> {escape(TITLES[finding.kind])}</h3>"
        f"<p>{escape(finding.said[:1].upper() + finding.said[1:])}.</p>{cards}</article>"
    )


def _exhibit(exhibit: "EvidenceImages", kind: str, root: Path) -> str:
    """Put the images of an exhibit side by side, each with its name."""
    pictures = []
    for number, path in enumerate(exhibit.images[:BESIDE]):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        draw = mask_thumbnail if kind in MASKED and number == 1 else thumbnail
        side = LARGE if len(exhibit.images) == 2 else MIDDLE
        shown = escape(name).replace("/", "/<wbr>")
        pictures.append(f"<div>{draw(path, side, name)}<small>{shown}</small></div>")
    if (left := len(exhibit.images) - BESIDE) > 0:
        pictures.append(f"<div><small>and {left} more</small></div>")
    return (
        f'<figure class="exhibit"><div class="row">{"".join(pictures)}</div>'
        f"<figcaption>{escape(exhibit.said)}</figcaption></figure>"
    )


def _brightness(product: "ProductCheck") -> str:
    levels = [
        image.mean for image in product.images if image.part == "train" and image.label == "good"
    ]
    plot = brightness_plot(levels, any(one.kind == "drift" for one in product.findings))
    if not plot:
        return ""
    return (
        f"<figure>{plot}<figcaption>Mean brightness of the good parts in grey levels, in the order "
        "of their files.</figcaption></figure>"
    )


def _sheet(product: "ProductCheck") -> str:
    """Show the good parts on one sheet, evenly chosen where there are very many."""
    good = [image for image in product.images if image.part == "train" and image.label == "good"]
    if not good:
        return ""
    step = max(1.0, len(good) / SHEET)
    chosen = [good[int(step * number)] for number in range(min(len(good), SHEET))]
    pictures = "".join(thumbnail(image.path, SMALL, image.path.name) for image in chosen)
    what = "all" if len(chosen) == len(good) else f"{len(chosen)} of {len(good)}"
    return (
        f"<details><summary>Contact sheet: {what} good parts in the order of their files</summary>"
        f'<div class="sheet">{pictures}</div></details>'
    )
