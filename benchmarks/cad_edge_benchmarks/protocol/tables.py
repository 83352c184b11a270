"""The tables of a protocol's report, laid out once for terminal, Markdown and HTML."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from cad_edge_benchmarks.protocol.compat import Compat
from cad_edge_benchmarks.protocol.layout import (
    NOT_YET,
    UNDEFINED,
    Table,
    over,
    shown,
    shown_spread,
    touched,
)
from cad_edge_benchmarks.protocol.run import Run
from cad_edge_benchmarks.protocol.summary import (
    Spread,
    by_learner,
    continual_of,
    costs_of,
    summary_of,
    task_summary,
    tasks_of,
)
from cad_edge_benchmarks.protocol.verdict_tables import learners_verdicts, tasks_verdicts
from cad_edge_benchmarks.reporting.headings import SCORE_COLUMNS

SUMMARY_COLUMNS = {
    "a_auroc": ("A-AUROC", "image_auroc"),
    "fm": ("FM", "image_auroc"),
    "average": ("Avg", "image_auroc"),
    "bwt": ("BWT", "image_auroc"),
    "image_ap": ("image AP", "image_ap"),
    "image_f1": ("image F1", "image_f1"),
    "pixel_auroc": ("pixel AUROC", "pixel_auroc"),
    "pixel_fm": ("pixel FM", "pixel_auroc"),
    "pixel_ap": ("pixel AP", "pixel_ap"),
    "aupro": ("AUPRO", "aupro"),
    "routing_normal": ("routed good", "routing_normal"),
    "routing_defective": ("routed defective", "routing_defective"),
}
"""Heading of each figure of the second summary, and the figure of a task that it comes from."""


def all_tables(runs: Sequence[Run], rate: float, compats: Sequence[Compat]) -> list[Table]:
    """Every table of the report, the most telling first."""
    learners = by_learner(runs)
    tables = [learners_verdicts(runs, rate, compats), summary_table(runs, compats)]
    for name, theirs in learners.items():
        tables.append(tasks_verdicts(name, theirs, rate, compats))
        tables.append(task_table(name, theirs, compats))
    tables.append(cost_table(runs))
    tables += [
        replace(matrix_table(run, figure, compats), detail=run is not runs[0], linked=False)
        for run in runs
        for figure in ("image_auroc", "pixel_auroc")
        if len(run.results) > 1 and continual_of(run, figure).a_auroc is not None
    ]
    return tables


def summary_table(runs: Sequence[Run], compats: Sequence[Compat]) -> Table:
    """One row for each learner: means over tasks after the last step, and over runs."""
    rows = []
    for name, theirs in by_learner(runs).items():
        figures = summary_of(theirs)
        rows.append((name, *(shown_spread(figures[column]) for column in SUMMARY_COLUMNS)))
    red, warnings = touched([source for _, source in SUMMARY_COLUMNS.values()], compats)
    return Table(
        "Learners: scores and forgetting",
        f"Means over tasks after the last step{over(runs)}. A-AUROC, FM, Avg and BWT of the image "
        "AUROC. F1 at the calibrated threshold.",
        ("learner", *(heading for heading, _ in SUMMARY_COLUMNS.values())),
        tuple(rows),
        red,
        warnings,
    )


def task_table(learner: str, runs: Sequence[Run], compats: Sequence[Compat]) -> Table:
    """One row of scores for each task after the last step, and their mean."""
    rows = [
        (task, *(shown_spread(figures[column]) for column in SCORE_COLUMNS))
        for task, figures in task_summary(runs).items()
    ]
    mean = summary_of(runs)
    rows.append(("mean", *(shown_spread(mean[column]) for column in SCORE_COLUMNS)))
    red, warnings = touched(list(SCORE_COLUMNS), compats)
    return Table(
        f"{learner}: scores after the last step",
        "The mean leaves out undefined figures.",
        ("task", *SCORE_COLUMNS.values()),
        tuple(rows),
        red,
        warnings,
    )


def matrix_table(run: Run, figure: str, compats: Sequence[Compat]) -> Table:
    """Row n is the state after step n; tasks not learned yet are blank."""
    result, tasks = continual_of(run, figure), tasks_of(run)
    learned: set[str] = set()
    rows = []
    for number, (step, values) in enumerate(zip(run.steps, result.matrix, strict=True), 1):
        learned |= set(step)
        cells = [
            shown(value) if name in learned else NOT_YET
            for name, value in zip(tasks, values, strict=True)
        ]
        rows.append((f"step {number}", *cells))
    for title, by_task in (("Avg", result.average), ("Last", result.last), ("BWT", result.bwt)):
        rows.append((title, *(shown(by_task[name]) for name in tasks)))
    red, warnings = touched([figure] * len(tasks), compats)
    return Table(
        f"{run.learner}, order {run.order}, seed {run.seed}: {SCORE_COLUMNS[figure]} by step",
        f"FM {shown(result.fm)}. BWT of a task of the last step is undefined.",
        ("", *tasks),
        tuple(rows),
        red,
        warnings,
    )


COST_COLUMNS: dict[str, tuple[str, Callable[[Spread], str]]] = {
    "models": ("models learned", lambda value: shown(value.mean, 0)),
    "seconds_per_model": ("seconds each", lambda value: shown_spread(value, 1)),
    "kept_bytes_per_task": ("kept per task, kB", lambda value: _kilobytes(value)),
    "bundle_bytes": ("bundle, kB", lambda value: _kilobytes(value)),
}


def _kilobytes(value: Spread) -> str:
    return UNDEFINED if value.mean is None else f"{value.mean / 1000:.0f}"


def cost_table(runs: Sequence[Run]) -> Table:
    """Seconds and bytes: of each task of cad-edge, and of the other learners."""
    head = ("learner, task", *(heading for heading, _ in COST_COLUMNS.values()), "images")
    rows = []
    for name, theirs in by_learner(runs).items():
        figures = summary_of(theirs)
        cells = (write(figures[column]) for column, (_, write) in COST_COLUMNS.items())
        rows.append((name, *cells, ""))
        for model, cost in costs_of(theirs[0]).items():
            size = f"{cost.bytes / 1000:.0f}"
            rows.append((f"- {model}", "", f"{cost.seconds:.1f}", size, "", str(cost.images)))
    return Table(
        "Seconds and bytes",
        "Kept: what a learner needs to go on, the network apart; of a baseline its one model and "
        "the images that it stores. The models below a learner are those of its first run.",
        head,
        tuple(rows),
    )
