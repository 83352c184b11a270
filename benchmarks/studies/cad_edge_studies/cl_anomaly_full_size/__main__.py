"""CL-Anomaly at the dimensions of LLaVA-OneVision-0.5B, beside transformers in float32.

    python -m cad_edge_studies.cl_anomaly_full_size [--work DIR] [--rounds N] [--out FILE]

Weights are random and tasks drawn; both sides see the same frames in turns, with the same threads.
What is measured takes gigabytes and minutes to make, and stays in ``--work``.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_benchmarks.reporting.targets import targets_table
from cad_edge_studies.cl_anomaly_full_size.dimensions import Dimensions
from cad_edge_studies.cl_anomaly_full_size.report import size_table, size_targets
from cad_edge_studies.cl_anomaly_full_size.run import build, run

RESULT = REPOSITORY / "docs" / "results" / "cl-anomaly-sizes.json"


@click.command("sizes")
@click.option("--rounds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
@click.option("--work", type=click.Path(path_type=Path), help="Keep model and bundles there.")
def main(rounds: int, threads: int, out: Path, work: Path | None) -> None:
    """Measure time, memory and growth at full size on this machine."""
    dimensions = Dimensions()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            place = (work or Path(temporary)).absolute()
            click.echo("making model, tasks and bundles; the first time takes minutes")
            build(place, dimensions)
            machine = describe_machine()
            click.echo("transformers and cad-edge in turns")
            found = run(place, dimensions, rounds, threads)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    targets = size_targets(found)
    conditions = {
        "dimensions": asdict(dimensions),
        "threads": threads,
        "rounds": rounds,
        "machine": machine,
        "versions": versions(),
        "commit": commit_of(REPOSITORY),
    }
    record = {"must_reach": [target.record() for target in targets]}
    write_result(out, {**conditions, **found, **record})
    click.echo(f"{size_table(found)}\n\n{targets_table(targets)}")


if __name__ == "__main__":
    main()
