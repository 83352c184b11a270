"""The report of a protocol: result file, terminal and Markdown; HTML is in `page`."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.protocol.compat import Compat
from cad_edge_benchmarks.protocol.layout import Table
from cad_edge_benchmarks.protocol.plan import Plan
from cad_edge_benchmarks.protocol.run import Run
from cad_edge_benchmarks.protocol.sentences import beside, headline
from cad_edge_benchmarks.protocol.summary import by_learner, learner_record
from cad_edge_benchmarks.protocol.tables import all_tables
from cad_edge_benchmarks.reporting.tables import wrapped

FORMAT = 1
RED = "#b3261e"


@dataclass(frozen=True)
class Report:
    """Everything that a report tells."""

    plan: Plan
    runs: tuple[Run, ...]
    compats: tuple[Compat, ...]
    last_only: bool
    remarks: tuple[str, ...]
    """Tasks whose figures are undefined, and why."""

    @property
    def tables(self) -> list[Table]:
        """All tables."""
        return all_tables(self.runs, self.plan.false_reject_rate, self.compats)

    @property
    def warnings(self) -> list[str]:
        """What every reader has to know about switches."""
        return [f"{one.label}: {one.meaning}" for one in self.compats]


def result_of(report: Report) -> dict[str, object]:
    """Lay out ``protocol.json``; undefined figures are null."""
    return {
        "format": FORMAT,
        "headline": headline(report.runs),
        "plan": report.plan.model_dump(mode="json"),
        "compat": {one.label: one.meaning for one in report.compats},
        "last_only": report.last_only,
        "undefined": list(report.remarks),
        "learners": {name: learner_record(runs) for name, runs in by_learner(report.runs).items()},
        "conditions": {
            "commit": commit_of(REPOSITORY),
            "machine": describe_machine(),
            "versions": versions(),
        },
    }


def facts(report: Report) -> list[str]:
    """Sentences on what was run."""
    plan = report.plan
    tasks = sum(len(step) for step in plan.steps)
    trials = {(run.order, run.seed) for run in report.runs}
    said = [
        f"{tasks} task{'s' * (tasks != 1)} in {len(plan.steps)} "
        f"step{'s' * (len(plan.steps) != 1)}: "
        + " | ".join(", ".join(step) for step in plan.steps)
        + ".",
        f"Method {plan.method} on {plan.backbone}"
        + (f", {', '.join(f'{n}={v}' for n, v in plan.options.items())}" if plan.options else "")
        + f"; stated false-reject rate {plan.false_reject_rate:g}.",
        "Runs: " + ", ".join(f"order {order} with seed {seed}" for order, seed in sorted(trials)),
    ]
    said[-1] += "."
    if report.last_only:
        said.append("Only the last step was measured, so FM, Avg and BWT are undefined.")
    if report.remarks:
        said.append(f"Undefined figures: {'; '.join(report.remarks)}.")
    return said


def print_report(report: Report) -> None:
    """Print the report, of the matrices those of the first run; red where a switch touches."""
    for sentence in (headline(report.runs), *beside(report.runs), *facts(report)):
        click.echo(sentence)
    for table in (one for one in report.tables if not one.detail):
        click.echo(f"\n{table.title}")
        for warning in table.warnings:
            click.secho(warning, fg="red")
        click.echo(_coloured(table))
        click.echo(wrapped(table.note))


def _coloured(table: Table) -> str:
    """Align columns with spaces; those that a switch touches are red."""
    lines = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(table.head))]
    text = []
    for row in lines:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padded = cell.ljust(width) if column == 0 else cell.rjust(width)
            cells.append(click.style(padded, fg="red") if column in table.red else padded)
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def markdown(report: Report) -> str:
    """Write ``protocol.md``.

    Red is a style that some viewers drop, so the cells that a switch touches bear a sign as well.
    """
    parts = [f"# {report.plan.protocol}", f"**{headline(report.runs)}**"]
    parts += [*beside(report.runs), *facts(report)]
    for table in report.tables:
        parts += [f"## {table.title}", *(_red(f"**{one}**") for one in table.warnings)]
        rows = [_marked(row, table.red) for row in (table.head, *table.rows)]
        rule = ["---", *["---:"] * (len(table.head) - 1)]
        parts.append("\n".join(_line(row) for row in (rows[0], rule, *rows[1:])))
        parts.append(table.note)
    return "\n\n".join(parts) + "\n"


def _marked(row: Sequence[str], red: frozenset[int]) -> list[str]:
    return [
        _red(f"{cell} †") if column in red and cell else cell for column, cell in enumerate(row)
    ]


def _red(text: str) -> str:
    return f'<span style="color:{RED}">{text}</span>'


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(row) + " |"
