"""A report as one HTML page that needs nothing beside it, neither files nor a network."""

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from itertools import groupby

from cad_edge_benchmarks.reporting.document import (
    Block,
    Cell,
    Code,
    Document,
    Figure,
    Markup,
    Table,
    Warn,
)


def render(document: Document) -> str:
    """Write the whole page."""
    links = "".join(
        f'<a href="#{escape(one.key)}">{escape(one.title)}</a>'
        for one in document.sections
        if one.linked
    )
    sections = "".join(
        f'<section id="{escape(one.key)}"><h2>{escape(one.title)}</h2>{_markup(one.blocks)}'
        "</section>"
        for one in document.sections
    )
    return _page(
        escape(document.title),
        f'<header><h1>{escape(document.title)}</h1><p class="headline">'
        f"{escape(document.headline)}</p>{_markup(document.lead)}"
        f"{f'<nav>{links}</nav>' if links else ''}</header>{sections}",
    )


def _page(title: str, body: str) -> str:
    style = (files(__package__) / "page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>\n{style}</style></head><body><main>"
        f"{body}</main></body></html>\n"
    )


def _markup(blocks: Iterable[Block]) -> str:
    """Lay out blocks; plots that follow each other stand side by side."""
    found = ""
    for are_plots, group in groupby(blocks, key=lambda block: isinstance(block, Figure)):
        laid = "".join(map(_block_markup, group))
        found += f'<div class="plots">{laid}</div>' if are_plots else laid
    return found


def _block_markup(block: Block) -> str:
    match block:
        case str():
            return f"<p>{escape(block)}</p>"
        case Warn():
            return f'<p class="tainted">{escape(block.text)}</p>'
        case Code():
            return f"<pre>{escape(block.text)}</pre>"
        case Figure():
            caption = escape(block.caption)
            return f"<figure>{block.svg}<figcaption>{caption}</figcaption></figure>"
        case Markup():
            return block.html
        case Table():
            note = f"<small>{escape(block.note)}</small>" if block.note else ""
            return table_markup(block) + note


def table_markup(table: Table) -> str:
    """Lay out a table; on a narrow screen it scrolls by itself and not the page."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    body = "".join(f"<tr>{''.join(map(_cell_markup, row))}</tr>" for row in table.rows)
    kind = "list" if table.is_list else "numbers"
    head = f"<thead><tr>{top}</tr></thead>" if any(table.head) else ""
    return f'<div class="scroll"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'


def _cell_markup(cell: str | Cell) -> str:
    kind = f' class="{cell.style}"' if isinstance(cell, Cell) and cell.style else ""
    # On a line of its own a deviation costs no width, and wide tables fit their page.
    mean, sign, deviation = (cell.text if isinstance(cell, Cell) else cell).partition(" ± ")
    spread = f'<span class="deviation"> ± {escape(deviation)}</span>' if sign else ""
    return f"<td{kind}>{escape(mean)}{spread}</td>"
