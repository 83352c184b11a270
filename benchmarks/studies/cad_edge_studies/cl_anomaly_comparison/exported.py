"""Exported engines of a family beside torch, on the test images of the comparison.

    python -m cad_edge_studies.cl_anomaly_comparison.exported [--artifacts DIR] [--work DIR]

Takes the artifacts of CL-Anomaly that `make result-cl_anomaly_comparison` left, exports them task
after task as they were learned, and once more in the fused layout. Measures whether decisions,
verdicts and words are those of torch, what later tasks leave of older ones, and how soon the first
word comes. Writes docs/results.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from cad_edge.errors import CadEdgeError
from cad_edge.store.artifact import read_record
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, data_folder
from cad_edge_benchmarks.reporting.progress import quiet
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_benchmarks.reporting.targets import targets_table
from cad_edge_runtime import Detector
from cad_edge_studies.cl_anomaly_comparison.agreement import (
    inspect_all,
    routing_of,
    with_each_other,
    with_torch,
)
from cad_edge_studies.cl_anomaly_comparison.explanation import compare_words, first_token
from cad_edge_studies.cl_anomaly_comparison.exported_report import exported_targets, lasting_table
from cad_edge_studies.cl_anomaly_comparison.family import LearnedFamily, read_family
from cad_edge_studies.cl_anomaly_comparison.forgetting import history, lasting
from cad_edge_studies.cl_anomaly_comparison.task_sequence import CATEGORIES

RESULT = REPOSITORY / "docs" / "results" / "cl-anomaly-exported.json"
LEARNED = REPOSITORY / "out" / "questions" / "CL-Anomaly" / "-".join(CATEGORIES) / "artifacts"
WAYS = ("given", "routed")


@click.command("exported")
@click.option("--artifacts", type=click.Path(path_type=Path), default=LEARNED)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the open categories.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Keep the bundles there; one that is there is measured as it is.",
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(min=20), default=200, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULT)
def main(
    artifacts: Path, data: Path | None, work: Path | None, threads: int, rounds: int, out: Path
) -> None:
    """Measure exported engines of CL-Anomaly against torch."""
    try:
        with tempfile.TemporaryDirectory() as temporary:
            family = read_family(artifacts, data_folder(data))
            bundles = export_both(family, work or Path(temporary))
            result = measure(family, bundles, threads, rounds)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    write_result(out, result)
    click.echo(f"{lasting_table(result)}\n\n{targets_table(exported_targets(result))}")


def export_both(family: LearnedFamily, place: Path) -> dict[str, Path]:
    """Export in the shared layout with words, a version after every task, and in the fused one."""
    from cad_edge_export.exporter import export_artifacts
    from cad_edge_export.plan import ExportPlan

    shared, fused = place / "shared", place / "fused"
    for count in range(1, len(family.folders) + 1):
        click.echo(f"shared, {family.names[count - 1]}", err=True)
        export_artifacts(family.folders[:count], shared, ExportPlan("shared"), quiet)
    click.echo("fused", err=True)
    export_artifacts(family.folders, fused, ExportPlan("fused", explanations=False), quiet)
    return {"shared": shared, "fused": fused}


def measure(
    family: LearnedFamily, bundles: Mapping[str, Path], threads: int, rounds: int
) -> dict[str, object]:
    """Measure all there is; return the result as it is written.

    Parameters
    ----------
    family
        The tasks with their test images.
    bundles
        By layout; ``shared`` has words and a version for each task.
    threads, rounds
        Of every detector; turns of decision and first word that count.
    """
    models = family.models(len(family.names))
    found = inspect_all(bundles, family, threads)
    pairs = {way: with_each_other(found["shared"][way], found["fused"][way]) for way in WAYS}
    with Detector.open(bundles["shared"], device="cpu", threads=threads, watch=False) as detector:
        times = first_token(detector, family, rounds)
        words = compare_words(detector, family, models)
    result: dict[str, object] = {
        **_conditions(family, threads, rounds),
        "against_torch": {
            layout: {way: asdict(with_torch(ways[way], models, family)) for way in WAYS}
            for layout, ways in found.items()
        },
        "fused_against_shared": {
            way: {**asdict(one), "other_verdicts": verdicts}
            for way, (one, verdicts) in pairs.items()
        },
        "routing": asdict(routing_of(found["shared"]["routed"])),
        "lasting": [asdict(one) for one in lasting(family, history(bundles["shared"]))],
        "first_token": {way: asdict(one) for way, one in times.items()},
        "words": {name: asdict(one) for name, one in words.items()},
    }
    return {**result, "must_reach": [one.record() for one in exported_targets(result)]}


def _conditions(family: LearnedFamily, threads: int, rounds: int) -> dict[str, object]:
    """With what the figures were made."""
    artifact = read_record(family.folders[0])
    return {
        "order": list(family.names),
        "backbone": artifact.backbone.model_dump(),
        "seed": artifact.provenance.seed,
        "hyperparameters": artifact.hyperparameters,
        "commit": commit_of(REPOSITORY),
        "machine": describe_machine(),
        "versions": versions(),
        "threads": threads,
        "rounds": rounds,
    }


if __name__ == "__main__":
    main()
