"""The sections of a protocol's report, the most telling first; figures of switches are red."""

from collections.abc import Callable, Iterable, Sequence

from cad_edge_benchmarks.instruments.proportion import Interval
from cad_edge_benchmarks.instruments.verdicts import Verdicts
from cad_edge_benchmarks.protocol.compat import Compat
from cad_edge_benchmarks.protocol.run import Run
from cad_edge_benchmarks.protocol.study import folder_name
from cad_edge_benchmarks.protocol.summary import (
    Spread,
    all_parts,
    by_learner,
    continual_of,
    costs_of,
    spread,
    summary_of,
    task_summary,
    tasks_of,
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

Row = tuple[str, ...]


def all_sections(runs: Sequence[Run], rate: float, compats: Sequence[Compat]) -> list[Section]:
    """Every table of the report; a terminal shows the tasks of the first learner alone."""
    learners = by_learner(runs)
    first, *others = learners
    found = [learners_verdicts(runs, rate, compats), learners_scores(runs, compats)]
    for name in (first, *others):
        shown = name == first
        found.append(tasks_verdicts(name, learners[name], rate, compats, shown))
        found.append(tasks_scores(name, learners[name], compats, shown))
    found += [learners_costs(runs), models_costs(runs)]
    return found + [
        matrix_section(run, figure, compats, run is runs[0])
        for run in runs
        for figure in ("image_auroc", "pixel_auroc")
        if len(run.results) > 1 and continual_of(run, figure).a_auroc is not None
    ]


def learners_verdicts(runs: Sequence[Run], rate: float, compats: Sequence[Compat]) -> Section:
    """One row for each learner: over all test images after the last step, and over runs."""
    rows = [
        (name, *verdict_cells([all_parts(run) for run in theirs]))
        for name, theirs in by_learner(runs).items()
    ]
    said = f"All test images after the last step, each counting the same{over(runs)}."
    return _verdicts("Learners: verdicts", "learner", rows, said, runs, rate, compats)


def tasks_verdicts(
    learner: str,
    runs: Sequence[Run],
    rate: float,
    compats: Sequence[Compat],
    in_terminal: bool = True,
) -> Section:
    """One row for each task after the last step, one for all their images and one for the mean."""
    final = [run.results[-1].measurement.evaluations for run in runs]
    rows = [(task, *verdict_cells([one[task] for one in final])) for task in tasks_of(runs[0])]
    rows.append((ALL_PARTS, *verdict_cells([all_parts(run) for run in runs])))
    mean = summary_of(runs)
    cells = (NOT_YET if key == INTERVAL else shown_spread(mean[key]) for key in VERDICT_COLUMNS)
    rows.append((MEAN, *cells))
    said, title = "The mean leaves out undefined figures.", f"{learner}: verdicts by task"
    return _verdicts(title, "task", rows, said, runs, rate, compats, in_terminal)


def learners_scores(runs: Sequence[Run], compats: Sequence[Compat]) -> Section:
    """One row for each learner: means over tasks after the last step, and over runs."""
    rows = []
    for name, theirs in by_learner(runs).items():
        figures = summary_of(theirs)
        rows.append((name, *(shown_spread(figures[column]) for column in SUMMARY_COLUMNS)))
    heading, sources = zip(*SUMMARY_COLUMNS.values(), strict=True)
    note = (
        f"Means over tasks after the last step{over(runs)}. A-AUROC, FM, Avg and BWT of the image "
        "AUROC. F1 at the calibrated threshold."
    )
    return _section(
        "Learners: scores and forgetting", ("learner", *heading), rows, note, sources, compats
    )


def tasks_scores(
    learner: str, runs: Sequence[Run], compats: Sequence[Compat], in_terminal: bool = True
) -> Section:
    """One row of scores for each task after the last step, and their mean."""
    mean = {MEAN: summary_of(runs)}
    rows = [
        (task, *(shown_spread(figures[column]) for column in SCORE_COLUMNS))
        for task, figures in (task_summary(runs) | mean).items()
    ]
    head, note = ("task", *SCORE_COLUMNS.values()), "The mean leaves out undefined figures."
    title = f"{learner}: scores by task"
    return _section(title, head, rows, note, list(SCORE_COLUMNS), compats, in_terminal)


def matrix_section(
    run: Run, figure: str, compats: Sequence[Compat], in_terminal: bool = True
) -> Section:
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
    title = f"{run.learner}, order {run.order}, seed {run.seed}: {SCORE_COLUMNS[figure]} by step"
    note = f"FM {shown(result.fm)}. BWT of a task of the last step is undefined."
    sources = [figure] * len(tasks)
    return _section(title, ("", *tasks), rows, note, sources, compats, in_terminal, linked=False)


COST_COLUMNS: dict[str, tuple[str, Callable[[Spread], str]]] = {
    "models": ("models learned", lambda value: shown(value.mean, 0)),
    "seconds_per_model": ("seconds each", lambda value: shown_spread(value, 1)),
    "kept_bytes_per_task": ("kept per task, kB", lambda value: _kilobytes(value.mean)),
    "bundle_bytes": ("bundle, kB", lambda value: _kilobytes(value.mean)),
}


def learners_costs(runs: Sequence[Run]) -> Section:
    """Seconds and bytes of every learner."""
    rows = []
    for name, theirs in by_learner(runs).items():
        figures = summary_of(theirs)
        cells = (write(figures[column]) for column, (_, write) in COST_COLUMNS.items())
        rows.append((name, *cells))
    note = (
        "Kept: what a learner needs to go on, the network apart; of a baseline its one model and "
        "the images that it stores."
    )
    head = ("learner", *(heading for heading, _ in COST_COLUMNS.values()))
    return _section("Seconds and bytes", head, rows, note)


def models_costs(runs: Sequence[Run]) -> Section:
    """Seconds and bytes of every model of every learner's first run."""
    rows = [
        (name, model, f"{cost.seconds:.1f}", _kilobytes(cost.bytes), str(cost.images))
        for name, theirs in by_learner(runs).items()
        for model, cost in costs_of(theirs[0]).items()
    ]
    head = ("learner", "model", "seconds", "kept, kB", "images")
    note = "Of the first run of every learner; images are those of good parts."
    return _section("Seconds and bytes of every model", head, rows, note, in_terminal=False)


def _verdicts(
    title: str,
    first: str,
    rows: Sequence[Row],
    said: str,
    runs: Sequence[Run],
    rate: float,
    compats: Sequence[Compat],
    in_terminal: bool = True,
) -> Section:
    reach = ""
    if len({(run.order, run.seed) for run in runs}) > 1:
        reach = " Intervals reach from the lowest bound of a run to the highest."
    note = f"Stated false-reject rate {100 * rate:g} %. {said}{reach} {VERDICT_NOTE}"
    head = (first, *VERDICT_COLUMNS.values())
    return _section(title, head, rows, note, list(VERDICT_COLUMNS), compats, in_terminal)


def _section(
    title: str,
    head: Row,
    rows: Sequence[Row],
    note: str,
    sources: Sequence[str] = (),
    compats: Sequence[Compat] = (),
    in_terminal: bool = True,
    linked: bool = True,
) -> Section:
    """Lay out a table; ``sources`` are the figures of its columns after the first."""
    switches = [compat for compat in compats if compat.touches & set(sources)]
    tainted = {
        column
        for column, source in enumerate(sources, 1)
        if any(source in compat.touches for compat in switches)
    }
    cells = [[_cell(cell, column in tainted) for column, cell in enumerate(row)] for row in rows]
    blocks: list[Block] = [Warn(one.warning) for one in switches]
    blocks.append(Table(head, cells, note))
    return Section(folder_name(title).lower(), title, tuple(blocks), in_terminal, linked)


def _cell(text: str, tainted: bool) -> str | Cell:
    if tainted and text != NOT_YET:
        return Cell(text, "tainted")
    return Cell(text, "none") if text == UNDEFINED else text


def verdict_cells(found: Sequence[Verdicts]) -> list[str]:
    """Cells of `VERDICT_COLUMNS` from the verdicts of each run."""
    cells = []
    for column in VERDICT_COLUMNS:
        if column == INTERVAL:
            interval = widest(one.false_reject_interval for one in found)
            cells.append(UNDEFINED if interval is None else shown_figure(interval))
        else:
            cells.append(shown_spread(spread([getattr(one, column) for one in found])))
    return cells


def widest(intervals: Iterable[Interval | None]) -> Interval | None:
    """Join the intervals of several runs: they judge the same images, so none may be narrowed."""
    defined = [one for one in intervals if one is not None]
    if not defined:
        return None
    return min(low for low, _ in defined), max(high for _, high in defined)


def over(runs: Sequence[Run]) -> str:
    """Say over how many runs figures are means; nothing for one."""
    count = len({(run.order, run.seed) for run in runs})
    return f", and mean ± deviation over {count} runs" if count > 1 else ""


def shown(value: float | None, digits: int = 3) -> str:
    """Write a figure; undefined ones are called so."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def shown_spread(value: Spread, digits: int = 3) -> str:
    """Write a mean, with its deviation where there are several runs."""
    if value.mean is None or value.deviation is None:
        return shown(value.mean, digits)
    return f"{value.mean:.{digits}f} ± {value.deviation:.{digits}f}"


def _kilobytes(value: float | None) -> str:
    return shown(None if value is None else value / 1000, 0)
