"""The accuracy result for people: the terminal, the method's README and the front page."""

from pathlib import Path

import click

from cad_edge_benchmarks.reporting.headings import (
    ALL_PARTS,
    MEAN,
    SCORE_COLUMNS,
    VERDICT_COLUMNS,
    VERDICT_NOTE,
)
from cad_edge_benchmarks.reporting.tables import (
    figure,
    figure_rows,
    markdown_table,
    replace_between,
    text_table,
    wrapped,
)
from cad_edge_benchmarks.reporting.targets import HEAD, target_rows, targets_table
from cad_edge_studies.accuracy.targets import Result, accuracy_targets

BEGIN = "<!-- accuracy:begin -->"
END = "<!-- accuracy:end -->"
RESULTS_BEGIN = "<!-- results:begin -->"
RESULTS_END = "<!-- results:end -->"

COLUMNS = {
    **SCORE_COLUMNS,
    "image_auroc_task_given": "task given",
    "unknown_product_auroc": "left out AUROC",
    "unknown_product_rejected": "left out refused",
    "seconds": "seconds",
    "disk_bytes": "disk kB",
}
"""Figures of the second table; those of the verdicts stand before it."""

Table = tuple[list[str], list[list[str]]]
"""Head and rows."""


def _tables(result: Result) -> tuple[Table, Table]:
    """Lay out the verdicts, and the scores with what a task costs."""
    tasks, mean = result["tasks"], {MEAN: result["mean"]}
    verdicts = {**tasks, ALL_PARTS: result["all_parts"], **mean}
    scores = {
        name: {
            **values,
            "seconds": _amount(values.get("seconds"), 1),
            "disk_bytes": _amount(values.get("disk_bytes"), 1e3),
        }
        for name, values in {**tasks, **mean}.items()
    }
    return (
        (["task", *VERDICT_COLUMNS.values()], figure_rows(VERDICT_COLUMNS, verdicts)),
        (["task", *COLUMNS.values()], figure_rows(COLUMNS, scores)),
    )


def _amount(value: float | None, unit: float) -> str:
    return figure(None if value is None else float(value) / unit, 0)


def print_report(result: Result) -> None:
    """Print the sentences, the tables, the facts below them and the targets."""
    verdicts, scores = _tables(result)
    parts = [
        f"{result['headline']}\n{result['beside']}",
        text_table(*verdicts),
        wrapped(VERDICT_NOTE),
        text_table(*scores),
        _facts(result),
        targets_table(accuracy_targets(result)),
    ]
    click.echo("\n\n".join(parts))


def _facts(result: Result) -> str:
    machine, versions, matrix = result["machine"], result["versions"], result["routed_matrix"]
    changed = {layout: one["changed_images"] for layout, one in result["forgetting"].items()}
    parts = [
        f"Seed {result['seed']}, backbone {result['backbone']}, stated false-reject rate "
        f"{result['stated_false_reject_rate']:g}.",
        f"{machine['cpu']}, {machine['cores']} cores; onnxruntime "
        f"{versions.get('onnxruntime', '-')}, torch {versions.get('torch', '-')}, "
        f"Python {machine['python']}.",
        f"Routed over the stages: A-AUROC {figure(matrix['a_auroc'])}, FM {figure(matrix['fm'], 4)}"
        f"; images changed with the task given: shared {changed['shared']}, fused "
        f"{changed['fused']}.",
        f"RAM per further task {_amount(result['ram_bytes_per_further_task'], 1e3)} kB.",
    ]
    means = result["seeds"].values()
    if len(means) > 1:
        found, aurocs = (
            figure((min(values), max(values)))
            for values in (
                [mean[name] for mean in means] for name in ("detection_rate", "image_auroc")
            )
        )
        parts.append(
            f"Over {len(means)} seeds: defects found, mean, {found}; mean image AUROC {aurocs}."
        )
    return " ".join(parts)


def update_readme(page: Path | None, result: Result) -> None:
    """Put the tables into ``page``; nothing without a page or where it is not there."""
    if page is None or not page.is_file():
        return
    verdicts, scores = (markdown_table(*table) for table in _tables(result))
    _replace(page, BEGIN, END, result, [verdicts, VERDICT_NOTE, scores])


def update_front_page(page: Path, result: Result) -> None:
    """Put the result in words and every target with its figure into the project's README."""
    targets = markdown_table(HEAD, target_rows(accuracy_targets(result)))
    _replace(page, RESULTS_BEGIN, RESULTS_END, result, [targets])


def _replace(page: Path, begin: str, end: str, result: Result, tables: list[str]) -> None:
    """Put ``tables`` between two lines, the sentences before them and the facts below."""
    parts = [f"{result['headline']} {result['beside']}", *tables, _facts(result)]
    replace_between(page, begin, end, "\n\n".join(parts))
