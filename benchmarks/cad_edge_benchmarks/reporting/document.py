"""A report, written once and laid out for terminal and Markdown; `html_document` makes pages.

>>> table = Table(("product", "defects found"), [["tile", "8 of 9"]])
>>> print(text(Document("Report", "Finds 8 of 9 defects.", (), (Section("all", "All", (table,)),))))
Finds 8 of 9 defects.
<BLANKLINE>
All
---
product  defects found
tile            8 of 9
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import click

from cad_edge_benchmarks.reporting.tables import markdown_table, text_table, wrapped

RED = "#b3261e"


@dataclass(frozen=True)
class Cell:
    """A cell of a table with a style of its own.

    ``hit``, ``miss``, ``warning`` and ``none`` are colours of the page; ``tainted`` figures, which
    may not be compared with others, are red everywhere and bear a sign in Markdown.
    """

    text: str
    style: str


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is words, the others are numbers unless it is a list."""

    head: tuple[str, ...]
    rows: Sequence[Sequence[str | Cell]]
    note: str = ""
    is_list: bool = False
    """Whether each row is a name and words."""


@dataclass(frozen=True)
class Figure:
    """A plot, which pages and Markdown files show."""

    svg: str
    """One ``<svg>`` element."""
    caption: str
    file: str = ""
    """Name of the file beside a Markdown report that holds it; without one Markdown leaves it out.
    """


@dataclass(frozen=True)
class Warn:
    """A sentence that nobody may overlook."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to copy, or a drawing in characters."""

    text: str


@dataclass(frozen=True)
class Markup:
    """HTML that pages alone show: pictures and what stands around them."""

    html: str


Block = str | Table | Figure | Warn | Code | Markup


@dataclass(frozen=True)
class Section:
    """A part of a report."""

    key: str
    """Its address within the page."""
    title: str
    blocks: tuple[Block, ...]
    in_terminal: bool = True
    linked: bool = True
    """Whether the contents of the page lead to it."""


@dataclass(frozen=True)
class Document:
    """A whole report: the result in a sentence, what stands beside it, and the sections."""

    title: str
    headline: str
    lead: tuple[Block, ...]
    sections: tuple[Section, ...]


def text(document: Document) -> str:
    """Lay out for a terminal, with colours that `click.echo` drops where none can be shown."""
    parts = [wrapped(document.headline), *_texts(document.lead)]
    for section in document.sections:
        laid = list(_texts(section.blocks))
        if section.in_terminal and laid:
            parts += [f"{section.title}\n{'-' * len(section.title)}\n{laid[0]}", *laid[1:]]
    return "\n\n".join(parts)


def _texts(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, str):
            yield wrapped(block)
        elif isinstance(block, Warn):
            yield click.style(wrapped(block.text), fg="red")
        elif isinstance(block, Code):
            yield block.text
        elif isinstance(block, Table):
            yield _text_table(block)


def _text_table(table: Table) -> str:
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    if table.is_list:
        width = max((len(row[0]) for row in rows), default=0)
        laid = "\n".join(f"{name:{width}}  {'  '.join(rest)}".rstrip() for name, *rest in rows)
    else:
        laid = text_table(
            table.head,
            rows,
            lambda row, column, cell: (
                click.style(cell, fg="red") if _tainted(table.rows[row][column]) else cell
            ),
        )
    return f"{laid}\n{wrapped(table.note)}" if table.note else laid


def _plain(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


def _tainted(cell: str | Cell) -> bool:
    return isinstance(cell, Cell) and cell.style == "tainted"


def markdown(document: Document) -> str:
    """Lay out as Markdown."""
    parts = [f"# {document.title}", f"**{document.headline}**", *_markdowns(document.lead)]
    for section in document.sections:
        laid = list(_markdowns(section.blocks))
        parts += [f"## {section.title}", *laid] if laid else []
    return "\n\n".join(parts) + "\n"


def _markdowns(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, str):
            yield block
        elif isinstance(block, Warn):
            yield _red(f"**{block.text}**")
        elif isinstance(block, Code):
            yield "\n".join(f"    {line}" for line in block.text.splitlines())
        elif isinstance(block, Table):
            yield _markdown_table(block)
        elif isinstance(block, Figure) and block.file:
            yield f"![{block.caption}]({block.file})"


def _markdown_table(table: Table) -> str:
    rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    if table.is_list:
        laid = "\n".join(f"* {name}: {'; '.join(rest)}" for name, *rest in rows)
    else:
        laid = markdown_table(table.head, rows)
    return f"{laid}\n\n{table.note}" if table.note else laid


def _markdown_cell(cell: str | Cell) -> str:
    content = _plain(cell).replace("|", "\\|")
    # Red is a style that some viewers drop, so there is a sign as well.
    return _red(f"{content} †") if _tainted(cell) and content else content


def _red(content: str) -> str:
    return f'<span style="color:{RED}">{content}</span>'
