"""What a line asks first of every learner: defects found and good parts rejected by mistake."""

from collections.abc import Iterable, Sequence

from cad_edge_benchmarks.instruments.proportion import Interval
from cad_edge_benchmarks.instruments.verdicts import Verdicts
from cad_edge_benchmarks.protocol.compat import Compat
from cad_edge_benchmarks.protocol.layout import (
    NOT_YET,
    UNDEFINED,
    Table,
    over,
    shown_spread,
    touched,
)
from cad_edge_benchmarks.protocol.run import Run
from cad_edge_benchmarks.protocol.summary import (
    all_parts,
    by_learner,
    spread,
    summary_of,
    tasks_of,
)
from cad_edge_benchmarks.reporting.headings import ALL_PARTS, MEAN, VERDICT_COLUMNS, VERDICT_NOTE
from cad_edge_benchmarks.reporting.tables import figure

INTERVAL = "false_reject_interval"


def learners_verdicts(runs: Sequence[Run], rate: float, compats: Sequence[Compat]) -> Table:
    """One row for each learner: over all test images after the last step, and over runs."""
    rows = [
        (name, *_cells([all_parts(run) for run in theirs]))
        for name, theirs in by_learner(runs).items()
    ]
    said = (
        f"All test images after the last step, each counting the same{over(runs)}.{_widest(runs)}"
    )
    return _table("Learners: verdicts", said, "learner", rows, rate, compats)


def tasks_verdicts(
    learner: str, runs: Sequence[Run], rate: float, compats: Sequence[Compat]
) -> Table:
    """One row for each task after the last step, one for all their images and one for the mean."""
    final = [run.results[-1].measurement.evaluations for run in runs]
    rows = [(task, *_cells([one[task] for one in final])) for task in tasks_of(runs[0])]
    rows.append((ALL_PARTS, *_cells([all_parts(run) for run in runs])))
    mean = summary_of(runs)
    rows.append(
        (
            MEAN,
            *(
                NOT_YET if column == INTERVAL else shown_spread(mean[column])
                for column in VERDICT_COLUMNS
            ),
        )
    )
    said = f"The mean leaves out undefined figures.{_widest(runs)}"
    return _table(f"{learner}: verdicts after the last step", said, "task", rows, rate, compats)


def widest(intervals: Iterable[Interval | None]) -> Interval | None:
    """Join the intervals of several runs: they judge the same images, so none may be narrowed."""
    defined = [one for one in intervals if one is not None]
    if not defined:
        return None
    return min(low for low, _ in defined), max(high for _, high in defined)


def _widest(runs: Sequence[Run]) -> str:
    """Say what stands for the intervals of several runs."""
    many = len({(run.order, run.seed) for run in runs}) > 1
    return " Intervals reach from the lowest bound of a run to the highest." if many else ""


def _cells(judged: Sequence[Verdicts]) -> list[str]:
    """Cells of `VERDICT_COLUMNS` from one judgement for each run."""
    cells = []
    for column in VERDICT_COLUMNS:
        if column == INTERVAL:
            interval = widest(one.false_reject_interval for one in judged)
            cells.append(UNDEFINED if interval is None else figure(interval))
        else:
            cells.append(shown_spread(spread([getattr(one, column) for one in judged])))
    return cells


def _table(
    title: str,
    said: str,
    first: str,
    rows: Sequence[tuple[str, ...]],
    rate: float,
    compats: Sequence[Compat],
) -> Table:
    red, warnings = touched(list(VERDICT_COLUMNS), compats)
    note = f"Stated false-reject rate {100 * rate:g} %. {said} {VERDICT_NOTE}"
    return Table(title, note, (first, *VERDICT_COLUMNS.values()), tuple(rows), red, warnings)
