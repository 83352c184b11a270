"""CL-Anomaly at the dimensions of LLaVA-OneVision-0.5B, beside transformers in float32.

    python -m cad_edge_studies.cl_anomaly_full_size [--work DIR] [--rounds N] [--out FILE]

Weights are random and tasks drawn; both sides see the same frames in turns, with the same threads.
What is measured takes gigabytes and minutes to make, and stays in ``--work``.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cad_edge_benchmarks.reporting.tables import figure, text_table, write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_studies.cl_anomaly_full_size.comparison import PEER, compare
from cad_edge_studies.cl_anomaly_full_size.dimensions import FLOAT, ROUNDED, Dimensions, build
from cad_edge_studies.open_category_study import RESULTS, Study, made_with

LIMITS = {FLOAT: (0.95, 0.85), ROUNDED: (0.5, 0.4)}
"""Largest share of transformers' time and of its peak memory, by precision."""
TASK_LIMIT = 8.0  # MB of a further task
_MEGABYTE = 1e6
_HEAD = ("", "ms", "of transformers", "peak MB", "of transformers", "unique MB")

Result = Mapping[str, Any]


@click.command("sizes", cls=Study)
@click.option("--rounds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "cl-anomaly-sizes.json")
@click.option("--work", type=click.Path(path_type=Path), help="Keep model and bundles there.")
def main(rounds: int, threads: int, out: Path, work: Path | None) -> None:
    """Measure time, memory and growth at full size on this machine."""
    dimensions = Dimensions()
    with tempfile.TemporaryDirectory() as temporary:
        place = (work or Path(temporary)).absolute()
        click.echo("making model, tasks and bundles; the first time takes minutes")
        build(place, dimensions)
        conditions = {"dimensions": asdict(dimensions), "rounds": rounds, **made_with(threads)}
        click.echo("transformers and cad-edge in turns")
        found = compare(place, dimensions, rounds, threads)
    targets = size_targets(found)
    record = {"must_reach": [target.record() for target in targets]}
    write_result(out, {**conditions, **found, **record})
    click.echo(f"{size_table(found)}\n\n{targets_table(targets)}")


def size_targets(result: Result) -> list[Target]:
    """Rows of "must reach" that this comparison measures."""
    rows, growth = result["rows"], result["growth"]
    targets = []
    for precision, (slowest, largest) in LIMITS.items():
        row = rows.get(precision)
        time = row and row["to_peer"]["following"]["median"]
        peak = row and row["peak"] / rows[PEER]["peak"]
        frame, memory = f"{precision}, time of a frame", f"{precision}, peak memory"
        targets += [
            Target(f"{frame} to transformers'", "at most", slowest, time, "x"),
            Target(f"{memory} to transformers'", "at most", largest, peak, "x"),
        ]
    sizes = {"disk": growth["disk"]["in_force"], "unique memory": growth["unique_memory"]}
    return targets + [
        Target(f"one more task, {where}", "at most", TASK_LIMIT, size / _MEGABYTE, "MB")
        for where, size in sizes.items()
    ]


def size_table(result: Result) -> str:
    """Lay out what was measured, and what the exporter refused."""
    rows = []
    for name, row in result["rows"].items():
        ratio, peak = row["to_peer"]["following"], row["peak"]
        quartiles = f"[{ratio['lower_quartile']:.3f}, {ratio['upper_quartile']:.3f}]"
        times = [figure(row["following"]["p50"], 0), f"{ratio['median']:.3f} {quartiles}"]
        sizes = [figure(peak / _MEGABYTE, 0), figure(peak / result["rows"][PEER]["peak"])]
        rows.append([name, *times, *sizes, figure(row["memory"]["uss"] / _MEGABYTE, 0)])
    said = [f"{name}: {sentence}" for name, sentence in result["refused"].items()]
    return "\n".join([text_table(_HEAD, rows), *said])


if __name__ == "__main__":
    main()
