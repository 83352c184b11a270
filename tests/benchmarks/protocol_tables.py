"""What stands in a section of a protocol's report."""

from dataclasses import replace

from cad_edge_benchmarks.reporting.document import Cell, Section, Table


def table_of(section: Section, place: int = 0) -> Table:
    """Return a table of a section, its cells as text."""
    table = [block for block in section.blocks if isinstance(block, Table)][place]
    rows = [tuple(one if isinstance(one, str) else one.text for one in row) for row in table.rows]
    return replace(table, rows=rows)


def tainted(section: Section) -> set[str]:
    """Return the headings of figures that may not be compared, by the first row of each table."""
    return {
        head
        for table in section.blocks
        if isinstance(table, Table)
        for head, one in zip(table.head, table.rows[0], strict=True)
        if isinstance(one, Cell) and one.style == "tainted"
    }
