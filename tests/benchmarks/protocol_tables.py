"""What stands in a section of a protocol's report."""

from dataclasses import replace

from cad_edge_benchmarks.reporting.document import Cell, Section, Table


def table_of(section: Section) -> Table:
    """Return the table of a section, its cells as text."""
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    rows = [tuple(one if isinstance(one, str) else one.text for one in row) for row in table.rows]
    return replace(table, rows=rows)


def tainted(section: Section) -> set[str]:
    """Return the headings of the columns of figures that may not be compared, in the first row."""
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    styles = [one.style if isinstance(one, Cell) else "" for one in table.rows[0]]
    return {head for head, style in zip(table.head, styles, strict=True) if style == "tainted"}
