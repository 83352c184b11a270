"""The sections of a protocol's report, the most telling first; figures of switches are red."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from cad_edge_benchmarks.instruments.verdicts import Verdicts
from cad_edge_benchmarks.protocol.compat import Compat
from cad_edge_benchmarks.protocol.run import Run
from cad_edge_benchmarks.protocol.study import folder_name
from cad_edge_benchmarks.protocol.summary import (
    MeanDeviation,
    all_parts,
    by_learner,
    continual_of,
    costs_of,
    over,
    spread,
    summary_of,
    task_summary,
    tasks_of,
    widest,
)
from cad_edge_benchmarks.reporting.document import Block, Cell, Section, Table, Warn
from cad_edge_benchmarks.reporting.headings import (
    ALL_PARTS,
    MEAN,
    SCORE_COLUMNS,
    VERDICT_COLUMNS,
    VERDICT_NOTE,
)
from cad_edge_benchmarks.reporting.tables import figure as shown_figure

UNDEFINED = "undefined"
NOT_YET = ""
INTERVAL = "false_reject_interval"

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

COST_COLUMNS = {
    "models": "models learned",
    "seconds_per_model": "seconds each",
    "kept_bytes_per_task": "kept per task, kB",
    "bundle_bytes": "bundle, kB",
}

Rows: TypeAlias = Mapping[str, Mapping[str, str]]
"""By the name of a row, its cells by the key of their column; a cell may be missing."""


def all_sections(runs: Sequence[Run], rate: float, compats: Sequence[Compat]) -> list[Section]:
    """Every table of the report; a terminal shows the tasks of the first learner alone."""
    found = [learners_verdicts(runs, rate, compats), learners_scores(runs, compats)]
    found += [
        tasks_section(name, theirs, compats, in_terminal=theirs[0] is runs[0])
        for name, theirs in by_learner(runs).items()
    ]
    found += [learners_costs(runs), models_costs(runs)]
    return found + [
        matrix_section(run, figure, compats, in_terminal=run is runs[0])
        for run in runs
        for figure in ("image_auroc", "pixel_auroc")
        if len(run.results) > 1 and continual_of(run, figure).a_auroc is not None
    ]


def learners_verdicts(runs: Sequence[Run], rate: float, compats: Sequence[Compat]) -> Section:
    """One row for each learner: over all test images after the last step, and over runs."""
    rows = {
        name: _verdicts([all_parts(run) for run in theirs])
        for name, theirs in by_learner(runs).items()
    }
    note = f"Stated false-reject rate {100 * rate:g} %. All test images after the last step, each "
    note += f"counting the same{over(runs)}."
    if len({(run.order, run.seed) for run in runs}) > 1:
        note += " Intervals reach from the lowest bound of a run to the highest."
    table = _table("learner", VERDICT_COLUMNS, rows, f"{note} {VERDICT_NOTE}", compats)
    return _section("Learners: verdicts", [table], VERDICT_COLUMNS, compats)


def learners_scores(runs: Sequence[Run], compats: Sequence[Compat]) -> Section:
    """One row for each learner: means over tasks after the last step, and over runs."""
    rows = {name: _spreads(summary_of(theirs)) for name, theirs in by_learner(runs).items()}
    columns = {key: heading for key, (heading, _) in SUMMARY_COLUMNS.items()}
    sources = {key: source for key, (_, source) in SUMMARY_COLUMNS.items()}
    note = (
        f"Means over tasks after the last step{over(runs)}. A-AUROC, FM, Avg and BWT of the image "
        "AUROC. F1 at the calibrated threshold."
    )
    table = _table("learner", columns, rows, note, compats, sources)
    return _section("Learners: scores and forgetting", [table], sources.values(), compats)


def tasks_section(
    learner: str, runs: Sequence[Run], compats: Sequence[Compat], in_terminal: bool = True
) -> Section:
    """Verdicts and scores after the last step: a row for each task, and one for their mean."""
    final = [run.results[-1].measurement.evaluations for run in runs]
    tasks = {
        task: _spreads(figures) | {INTERVAL: _interval([one[task] for one in final])}
        for task, figures in task_summary(runs).items()
    }
    mean = {MEAN: _spreads(summary_of(runs))}
    whole = {ALL_PARTS: _verdicts([all_parts(run) for run in runs])}
    note = "The mean leaves out undefined figures."
    verdicts = _table("task", VERDICT_COLUMNS, tasks | whole | mean, note, compats)
    scores = _table("task", SCORE_COLUMNS, tasks | mean, "", compats)
    title, keys = f"{learner}: tasks after the last step", [*VERDICT_COLUMNS, *SCORE_COLUMNS]
    return _section(title, [verdicts, scores], keys, compats, in_terminal)


def matrix_section(
    run: Run, figure: str, compats: Sequence[Compat], in_terminal: bool = True
) -> Section:
    """Row n is the state after step n; tasks not learned yet are blank."""
    result, tasks = continual_of(run, figure), tasks_of(run)
    rows: dict[str, dict[str, str]] = {}
    learned: set[str] = set()
    for number, (step, values) in enumerate(zip(run.steps, result.matrix, strict=True), 1):
        learned |= set(step)
        named = zip(tasks, values, strict=True)
        rows[f"step {number}"] = {name: shown(value) for name, value in named if name in learned}
    for title, by_task in (("Avg", result.average), ("Last", result.last), ("BWT", result.bwt)):
        rows[title] = {name: shown(value) for name, value in by_task.items()}
    note = f"FM {shown(result.fm)}. BWT of a task of the last step is undefined."
    columns, sources = {name: name for name in tasks}, dict.fromkeys(tasks, figure)
    table = _table("", columns, rows, note, compats, sources)
    title = f"{run.learner}, order {run.order}, seed {run.seed}: {SCORE_COLUMNS[figure]} by step"
    return _section(title, [table], [figure], compats, in_terminal, linked=False)


def learners_costs(runs: Sequence[Run]) -> Section:
    """Seconds and bytes of every learner."""
    rows = {}
    for name, theirs in by_learner(runs).items():
        figures = summary_of(theirs)
        rows[name] = {
            "models": shown(figures["models"].mean, 0),
            "seconds_per_model": shown_spread(figures["seconds_per_model"], 1),
            "kept_bytes_per_task": _kilobytes(figures["kept_bytes_per_task"].mean),
            "bundle_bytes": _kilobytes(figures["bundle_bytes"].mean),
        }
    note = (
        "Kept: what a learner needs to go on, the network apart; of a baseline its one model and "
        "the images that it stores."
    )
    return _section("Seconds and bytes", [_table("learner", COST_COLUMNS, rows, note)])


def models_costs(runs: Sequence[Run]) -> Section:
    """Seconds and bytes of every model of every learner's first run."""
    rows = [
        (name, model, f"{cost.seconds:.1f}", _kilobytes(cost.bytes), str(cost.images))
        for name, theirs in by_learner(runs).items()
        for model, cost in costs_of(theirs[0]).items()
    ]
    head = ("learner", "model", "seconds", "kept, kB", "images")
    table = Table(head, rows, "Of the first run of every learner; images are those of good parts.")
    return _section("Seconds and bytes of every model", [table], in_terminal=False)


def _table(
    first: str,
    columns: Mapping[str, str],
    rows: Rows,
    note: str,
    compats: Sequence[Compat] = (),
    sources: Mapping[str, str] | None = None,
) -> Table:
    """Lay out the cells of ``columns`` (key to heading) of rows.

    ``sources`` are the figures of tasks that columns come from, where their keys are none.
    """
    figures = {key: key if sources is None else sources[key] for key in columns}
    touched = {figure for compat in compats for figure in compat.touches}
    cells = [
        [name, *(_cell(row.get(key, NOT_YET), figures[key] in touched) for key in columns)]
        for name, row in rows.items()
    ]
    return Table((first, *columns.values()), cells, note)


def _cell(text: str, tainted: bool) -> str | Cell:
    if tainted and text != NOT_YET:
        return Cell(text, "tainted")
    return Cell(text, "none") if text == UNDEFINED else text


def _section(
    title: str,
    tables: Sequence[Table],
    sources: Iterable[str] = (),
    compats: Sequence[Compat] = (),
    in_terminal: bool = True,
    linked: bool = True,
) -> Section:
    """Put tables of the figures ``sources`` below the warnings of the switches that touch them."""
    figures = set(sources)
    warnings = [Warn(compat.warning) for compat in compats if compat.touches & figures]
    blocks: tuple[Block, ...] = (*warnings, *tables)
    return Section(folder_name(title).lower(), title, blocks, in_terminal, linked)


def _verdicts(found: Sequence[Verdicts]) -> dict[str, str]:
    """Cells of `VERDICT_COLUMNS` from the verdicts of each run."""
    keys = [key for key in VERDICT_COLUMNS if key != INTERVAL]
    spreads = {key: spread([getattr(one, key) for one in found]) for key in keys}
    return _spreads(spreads) | {INTERVAL: _interval(found)}


def _spreads(figures: Mapping[str, MeanDeviation]) -> dict[str, str]:
    return {key: shown_spread(value) for key, value in figures.items()}


def _interval(found: Sequence[Verdicts]) -> str:
    interval = widest(one.false_reject_interval for one in found)
    return UNDEFINED if interval is None else shown_figure(interval)


def shown(value: float | None, digits: int = 3) -> str:
    """Write a figure; undefined ones are called so."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def shown_spread(value: MeanDeviation, digits: int = 3) -> str:
    """Write a mean, with its deviation where there are several runs."""
    if value.mean is None or value.deviation is None:
        return shown(value.mean, digits)
    return f"{value.mean:.{digits}f} ± {value.deviation:.{digits}f}"


def _kilobytes(value: float | None) -> str:
    return shown(None if value is None else value / 1000, 0)
