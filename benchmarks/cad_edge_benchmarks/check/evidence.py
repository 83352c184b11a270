"""Images that show a finding, for the page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from cad_edge_benchmarks.reporting.document import Markup
from cad_edge_benchmarks.reporting.pictures import LARGE, MIDDLE, SMALL, thumbnail

if TYPE_CHECKING:
    from cad_edge_training.check.findings import EvidenceImages, Finding

OPEN, MOST = 12, 60  # exhibits of a finding that are shown at once, and after a click
SHEET = 240  # good parts on a contact sheet
BESIDE = 6  # copies of one picture that are shown
MASKED = ("mask", "mask_inverted")
"""Findings whose exhibits are an image and its mask."""

TITLES = {
    "leak": "Test images that are in training",
    "unreadable": "Files that give no image",
    "folder": "Folders",
    "mask": "Masks that cannot be used",
    "copies_across_groups": "Copies in different groups",
    "still": "Images that hardly differ",
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


def evidence(finding: "Finding", root: Path) -> Markup:
    """Show the images of a finding, the first ones at once and some more after a click."""
    shown = [_exhibit(one, finding.kind, root) for one in finding.exhibits[:MOST]]
    cards = f'<div class="exhibits">{"".join(shown[:OPEN])}</div>'
    if rest := shown[OPEN:]:
        more = len(finding.exhibits) - OPEN
        left = f", the first {len(rest)} of them" if more > len(rest) else ""
        cards += (
            f"<details><summary>{more} more{left}</summary>"
            f'<div class="exhibits">{"".join(rest)}</div></details>'
        )
    return Markup(f'<article class="product"><h3>{TITLES[finding.kind]}</h3>{cards}</article>')


def _exhibit(exhibit: "EvidenceImages", kind: str, root: Path) -> str:
    """Put the images of an exhibit side by side, each with its name."""
    side = LARGE if len(exhibit.images) == 2 else MIDDLE
    pictures = []
    for number, path in enumerate(exhibit.images[:BESIDE]):
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        picture = thumbnail(path, side, name, is_mask=kind in MASKED and number == 1)
        shown = escape(name).replace("/", "/<wbr>")
        pictures.append(f"<div>{picture}<small>{shown}</small></div>")
    if (left := len(exhibit.images) - BESIDE) > 0:
        pictures.append(f"<div><small>and {left} more</small></div>")
    return (
        f'<figure class="exhibit"><div class="row">{"".join(pictures)}</div>'
        f"<figcaption>{escape(exhibit.said)}</figcaption></figure>"
    )


def contact_sheet(good: Sequence[Path]) -> Markup:
    """Show the good parts on one sheet, evenly chosen where there are very many."""
    step = max(1.0, len(good) / SHEET)
    chosen = [good[int(step * number)] for number in range(min(len(good), SHEET))]
    pictures = "".join(thumbnail(path, SMALL, path.name) for path in chosen)
    what = "all" if len(chosen) == len(good) else f"{len(chosen)} of {len(good)}"
    return Markup(
        f"<details><summary>Contact sheet: {what} good parts in the order of their files</summary>"
        f'<div class="sheet">{pictures}</div></details>'
    )
