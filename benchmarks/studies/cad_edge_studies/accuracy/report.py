"""The accuracy result for people: the terminal, the method's README and the front page."""

from pathlib import Path

import click

from cad_edge_benchmarks.reporting.document import text
from cad_edge_benchmarks.reporting.evaluation_tables import evaluation_document, evaluation_tables
from cad_edge_benchmarks.reporting.headings import SCORE_COLUMNS, VERDICT_NOTE
from cad_edge_benchmarks.reporting.tables import figure, markdown_table, replace_between
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


def _with_costs(result: Result) -> Result:
    """Give seconds and bytes the digits that tables show."""

    def shown(values: Result) -> Result:
        seconds, disk = values.get("seconds"), values.get("disk_bytes")
        return {**values, "seconds": _amount(seconds, 1), "disk_bytes": _amount(disk, 1e3)}

    tasks = {name: shown(values) for name, values in result["tasks"].items()}
    return {**result, "tasks": tasks, "mean": shown(result["mean"])}


def _amount(value: float | None, unit: float) -> str:
    return figure(None if value is None else float(value) / unit, 0)


def print_report(result: Result) -> None:
    """Print the sentences, the tables, the facts below them and the targets."""
    figures = text(evaluation_document("Accuracy", _with_costs(result), COLUMNS))
    click.echo("\n\n".join([figures, _facts(result), targets_table(accuracy_targets(result))]))


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
    tables = evaluation_tables(_with_costs(result), COLUMNS)
    verdicts, scores = (markdown_table(*table) for table in tables)
    _replace(page, BEGIN, END, result, [verdicts, VERDICT_NOTE, scores])


def update_front_page(page: Path, result: Result) -> None:
    """Put the result in words and every target with its figure into the project's README."""
    targets = markdown_table(HEAD, target_rows(accuracy_targets(result)))
    _replace(page, RESULTS_BEGIN, RESULTS_END, result, [targets])


def _replace(page: Path, begin: str, end: str, result: Result, tables: list[str]) -> None:
    """Put ``tables`` between two lines, the sentences before them and the facts below."""
    parts = [f"{result['headline']} {result['beside']}", *tables, _facts(result)]
    replace_between(page, begin, end, "\n\n".join(parts))
