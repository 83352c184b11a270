"""An evaluation for people: its sentences, a table of the verdicts and one of other figures.

A result is what `cad-edge evaluate --out` writes, or more than that.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cad_edge_benchmarks.reporting import document
from cad_edge_benchmarks.reporting.document import Document, Section
from cad_edge_benchmarks.reporting.headings import (
    ALL_PARTS,
    MEAN,
    SCORE_COLUMNS,
    VERDICT_COLUMNS,
    VERDICT_NOTE,
)
from cad_edge_benchmarks.reporting.tables import figure_rows

LEVELS_SECTION = "levels"
LEVELS_NOTE = (
    "Found defects by the level of evidence that adds most to their score, and by kind. A defect "
    "with no level was refused as another product, or no level adds anything."
)

Table = tuple[list[str], list[list[str]]]
"""Head and rows."""


def evaluation_tables(
    result: Mapping[str, Any], columns: Mapping[str, str] = SCORE_COLUMNS
) -> tuple[Table, Table]:
    """Lay out the verdicts, and figures of each task by ``columns`` (headings by their names)."""
    tasks, mean = result["tasks"], {MEAN: result["mean"]}
    verdicts = {**tasks, ALL_PARTS: result["all_parts"], **mean}
    return (
        (["task", *VERDICT_COLUMNS.values()], figure_rows(VERDICT_COLUMNS, verdicts)),
        (["task", *columns.values()], figure_rows(columns, {**tasks, **mean})),
    )


def evaluation_document(
    title: str, result: Mapping[str, Any], columns: Mapping[str, str] = SCORE_COLUMNS
) -> Document:
    """Lay out sentences and `evaluation_tables` under ``title``; a dash where undefined."""
    (head, verdicts), (score_head, scores) = evaluation_tables(result, columns)
    return Document(
        title,
        result["headline"],
        (result["beside"],),
        (
            Section(
                "verdicts",
                "Defects found, good parts rejected",
                (document.Table(tuple(head), verdicts, VERDICT_NOTE),),
            ),
            Section("scores", "Scores and heat maps", (document.Table(tuple(score_head), scores),)),
            *_levels(result["tasks"]),
        ),
    )


def _levels(tasks: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """Lay out found defects by level and kind, of the tasks whose engines name levels."""
    tables = []
    for name, task in tasks.items():
        counts = task.get("levels", {})
        if not counts:
            continue
        kinds = tuple(next(iter(counts.values())))
        rows = [
            [level, *map(str, row.values()), str(sum(row.values()))]
            for level, row in counts.items()
        ]
        tables.append(document.Table((name, *kinds, "all"), rows))
    if not tables:
        return []
    last = replace(tables[-1], note=LEVELS_NOTE)
    return [Section(LEVELS_SECTION, "What found defects rest on", (*tables[:-1], last))]
