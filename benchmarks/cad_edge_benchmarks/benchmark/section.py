"""A chapter of the report: sentences and tables; terminal, Markdown and HTML are made of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is words, the others are numbers unless it is a list."""

    head: tuple[str, ...]
    rows: list[list[str]]
    is_list: bool = False
    """Whether each row is a name and words."""


@dataclass(frozen=True)
class Chapter:
    """A part of the report."""

    key: str
    title: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...]


def short(value: float) -> str:
    """Write a number with three digits or so, a whole one without a point."""
    digits = 0 if value == int(value) else 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1
    return f"{value:.{digits}f}"


def size(count: float) -> str:
    """Write bytes with a unit that suits them."""
    for unit, bytes_of_it in (("GB", 1e9), ("MB", 1e6)):
        if count >= bytes_of_it:
            return f"{count / bytes_of_it:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
