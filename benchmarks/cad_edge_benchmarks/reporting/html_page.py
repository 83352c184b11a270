"""What every page is made of: its frame, its style and its tables; nothing stands beside it."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

STYLE = "page.css"
"""Style that all pages share."""
PLOTS = "plots.css"
"""Style of pages with plots, after the shared one."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table with a style of its own."""

    text: str
    style: str


def page(title: str, style: str, body: str) -> str:
    """Frame ``body`` as a page that needs nothing beside it, neither files nor a network."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>\n{style}</style></head><body><main>"
        f"{body}</main></body></html>\n"
    )


def style_sheet(*names: str, package: str = __package__) -> str:
    """Read style sheets of a package, by default of this one, one after another."""
    return "".join((files(package) / name).read_text(encoding="utf-8") for name in names)


def escape(text: object) -> str:
    """Make any text safe to stand in HTML."""
    return html.escape(str(text))


def table(head: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> str:
    """Lay out a table; on a narrow screen it scrolls by itself and not the page."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, Cell):
        return f'<td class="{cell.style}">{escape(cell.text)}</td>'
    return f"<td>{escape(cell)}</td>"
