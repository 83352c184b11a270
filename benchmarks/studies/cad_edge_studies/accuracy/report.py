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
}
"""Figures of the second table; those of the verdicts stand before it."""

Table = tuple[list[str], list[list[str]]]
"""Head and rows."""


def _verdicts(result: Result) -> Table:
    named = {**result["tasks"], ALL_PARTS: result["all_parts"], MEAN: result["mean"]}
    return ["task", *VERDICT_COLUMNS.values()], figure_rows(VERDICT_COLUMNS, named)


def _scores(result: Result) -> Table:
    named = {**result["tasks"], MEAN: result["mean"]}
    rows = [
        [*row, _amount(values.get("seconds"), 1, 0), _amount(values.get("disk_bytes"), 1e3, 0)]
        for row, values in zip(figure_rows(COLUMNS, named), named.values(), strict=True)
    ]
    return ["task", *COLUMNS.values(), "seconds", "disk kB"], rows


def _amount(value: float | None, unit: float, digits: int) -> str:
    return figure(None if value is None else float(value) / unit, digits)


def _in_words(result: Result) -> str:
    return f"{result['headline']} {result['beside']}"


def print_report(result: Result) -> None:
    """Print the sentences, the tables, the facts below them and the targets."""
    parts = [
        f"{result['headline']}\n{result['beside']}",
        text_table(*_verdicts(result)),
        wrapped(VERDICT_NOTE),
        text_table(*_scores(result)),
        _facts(result),
        targets_table(accuracy_targets(result)),
    ]
    click.echo("\n\n".join(parts))


def _facts(result: Result) -> str:
    machine, versions = result["machine"], result["versions"]
    ram = result["ram_bytes_per_further_task"]
    matrix = result["routed_matrix"]
    parts = [
        f"Seed {result['seed']}, backbone {result['backbone']}, stated false-reject rate "
        f"{result['stated_false_reject_rate']:g}.",
        f"{machine['cpu']}, {machine['cores']} cores; onnxruntime "
        f"{versions.get('onnxruntime', '-')}, torch {versions.get('torch', '-')}, "
        f"Python {machine['python']}.",
        f"Routed over the stages: A-AUROC {figure(matrix['a_auroc'])}, FM {figure(matrix['fm'], 4)}"
        f"; images changed with the task given: shared "
        f"{result['forgetting']['shared']['changed_images']}, fused "
        f"{result['forgetting']['fused']['changed_images']}.",
        f"RAM per further task {_amount(ram, 1e3, 0)} kB.",
    ]
    if len(result["seeds"]) > 1:
        means = result["seeds"].values()
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
    parts = [
        _in_words(result),
        markdown_table(*_verdicts(result)),
        VERDICT_NOTE,
        markdown_table(*_scores(result)),
        _facts(result),
    ]
    replace_between(page, BEGIN, END, "\n\n".join(parts))


def update_front_page(page: Path, result: Result) -> None:
    """Put the result in words and every target with its figure into the project's README."""
    table = markdown_table(HEAD, target_rows(accuracy_targets(result)))
    text = "\n\n".join([_in_words(result), table, _facts(result)])
    replace_between(page, RESULTS_BEGIN, RESULTS_END, text)
