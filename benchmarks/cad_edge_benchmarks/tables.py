"""Plain-text and Markdown tables, and result files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cad_edge.disk import replace_file
from cad_edge.errors import OptionError

UNDEFINED = "-"


def figure(value: object, digits: int = 3) -> str:
    """Show a number with ``digits`` decimals, None as a dash and everything else as it is."""
    if value is None:
        return UNDEFINED
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns with spaces, the first to the left and the others to the right."""
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


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


def write_result(path: Path, result: Mapping[str, object]) -> None:
    """Write ``result`` as JSON, whole or not at all; undefined figures are null, never NaN."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False)
    replace_file(path, f"{text}\n".encode())
