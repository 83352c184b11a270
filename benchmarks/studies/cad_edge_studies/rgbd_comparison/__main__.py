"""IB-IUMAD against its baselines on the procedural line with depth.

    python -m cad_edge_studies.rgbd_comparison [--work DIR] [--runs N]

All runs take hours. Those that ``--work`` or the result file holds are not learned again, unless
the method's options have changed since, so that the command can be interrupted and called again;
what is not there yet is missing in the table.
"""

import json
from pathlib import Path
from typing import Any

import click

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_benchmarks.reporting.targets import targets_table
from cad_edge_studies.rgbd_comparison.learning import is_of, kept, learn_run
from cad_edge_studies.rgbd_comparison.report import (
    false_reject_line,
    rows,
    table,
    table_by_age,
    targets,
)
from cad_edge_studies.rgbd_comparison.task_sequence import all_runs

RESULT = REPOSITORY / "docs" / "results" / "ib-iumad-line.json"


@click.command("rgbd")
@click.option("--work", type=click.Path(path_type=Path), default=Path("out/rgbd"))
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
@click.option("--runs", type=click.IntRange(min=0), help="Learn at most so many that are missing.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
def main(work: Path, out: Path, runs: int | None, threads: int) -> None:
    """Learn, judge and compare."""
    import torch

    torch.set_num_threads(threads)
    held = _held(work, out)
    missing = [run for run in all_runs() if run.name not in held]
    try:
        for run in missing[:runs]:
            click.echo(f"{run.name}: {learn_run(work, run)['seconds']:.0f} s")
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    results = _held(work, out)
    summaries, reached = rows(results), targets(results)
    write_result(
        out,
        {
            "machine": describe_machine(),
            "versions": versions(),
            "commit": commit_of(REPOSITORY),
            "threads": threads,
            "rows": summaries,
            "must_reach": [target.record() for target in reached],
            "false_rejects": false_reject_line(results),
            "runs": results,
        },
    )
    click.echo(
        f"{table(summaries)}\n\n{table_by_age(summaries)}\n\n{targets_table(reached)}\n"
        f"{false_reject_line(results)}"
    )


def _held(work: Path, out: Path) -> dict[str, Any]:
    """Return runs of today's options that ``work`` or the result file holds, in order."""
    published = json.loads(out.read_text("utf-8"))["runs"] if out.exists() else {}
    found = {}
    for run in all_runs():
        judged = kept(work / run.name, run.options)
        if judged is None and is_of(published.get(run.name, {}), run.options):
            judged = published[run.name]
        if judged is not None:
            found[run.name] = judged
    return found


if __name__ == "__main__":
    main()
