"""Plain-text and Markdown tables, and result files."""

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cad_edge.errors import OptionError
from cad_edge.store.atomic_write import replace_file

UNDEFINED = "-"
_PARAGRAPH = 100  # characters of a line


def figure(value: object, digits: int = 3) -> str:
    """Show a number with ``digits`` decimals, an interval as two, None as a dash, others as is."""
    if value is None:
        return UNDEFINED
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    if isinstance(value, tuple | list):
        return " to ".join(figure(bound, digits) for bound in value)
    return str(value)


def percent(share: float | None) -> str:
    """Write a share, e.g. ``3.7 %``."""
    return UNDEFINED if share is None else f"{100 * share:.1f} %"


def percents(interval: tuple[float, float]) -> str:
    """Write an interval of shares, e.g. ``2.5 to 5.8 %``."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def figure_rows(
    columns: Iterable[str], named: Mapping[str, Mapping[str, object]]
) -> list[list[str]]:
    """One row for each of ``named``: its name and its figures of ``columns``."""
    chosen = list(columns)
    return [
        [name, *(figure(values.get(column)) for column in chosen)] for name, values in named.items()
    ]


def text_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    style: Callable[[int, int, str], str] = lambda row, column, cell: cell,
) -> str:
    """Align columns with spaces, the first to the left and the others to the right.

    Parameters
    ----------
    head, rows
        Cells.
    style
        Told row (from 0), column and the padded cell; returns what to print for it.
    """
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = []
    for number, row in enumerate(table, -1):
        padded = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        if number >= 0:
            padded = [style(number, column, cell) for column, cell in enumerate(padded)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def wrapped(text: str) -> str:
    """Break a paragraph into lines for a terminal."""
    return textwrap.fill(text, _PARAGRAPH, break_on_hyphens=False)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def replace_between(path: Path, begin: str, end: str, text: str) -> None:
    """Put ``text`` between the lines ``begin`` and ``end`` of a file.

    Raises
    ------
    OptionError
        The file has no such pair of lines.
    """
    content = path.read_text(encoding="utf-8")
    before, found_begin, rest = content.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise OptionError(f"{path} lacks the lines {begin} and {end}; add them where it belongs")
    replace_file(path, f"{before}{begin}\n{text}\n{end}{after}".encode())


def json_of(result: Mapping[str, object]) -> bytes:
    """Write ``result`` as JSON; undefined figures are null, never NaN."""
    text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def write_result(path: Path, result: Mapping[str, object]) -> None:
    """Write ``result`` as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json_of(result))
