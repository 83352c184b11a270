"""Compare exported engines with torch's reference models on the test images of a stream.

    python -m cad_edge_studies.engine_agreement STREAM ARTIFACTS [--layout L] [--precision P]

Exports the artifacts anew and shows every test image to both, its task given.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click

from cad_edge.data.stream import read_stream
from cad_edge.errors import CadEdgeError
from cad_edge.schema import canonical_json
from cad_edge.store.manifest import GraphLayout, Precision
from cad_edge_benchmarks.instruments.agreement import Agreement, agreement
from cad_edge_benchmarks.instruments.command_runner import quiet
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.reporting.tables import figure, text_table, write_result
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan

HEAD = ("task", "images", "score", "map", "levels", "flips", "same experts")


@click.command("engine_agreement")
@click.argument("stream", type=click.Path(path_type=Path))
@click.argument("artifacts", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="What the stream's paths go from.")
@click.option(
    "--layout", type=click.Choice(get_args(GraphLayout)), default="shared", show_default=True
)
@click.option(
    "--precision", type=click.Choice(get_args(Precision)), default="fp32", show_default=True
)
@click.option("--backbone", help="Where its weights are, if the artifacts do not tell.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file of the figures.")
def main(
    stream: Path,
    artifacts: Path,
    data: Path | None,
    layout: GraphLayout,
    precision: Precision,
    backbone: str | None,
    threads: int,
    out: Path | None,
) -> None:
    """Show every test image of STREAM to engines made of ARTIFACTS and to torch."""
    try:
        tasks = read_stream(stream, data)
        with tempfile.TemporaryDirectory() as place:
            bundle, absolute = Path(place) / "bundle", Path(place) / "stream.json"
            absolute.write_bytes(canonical_json(tasks))
            calibration = absolute if precision in ("int8", "uint8") else None
            plan = ExportPlan(layout, precision, None, backbone, calibration, explanations=False)
            export_artifacts([artifacts / one.name for one in tasks.tasks], bundle, plan, quiet)
            found = agreement(bundle, artifacts, tasks, backbone, threads)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    every = found | {"all": joined(list(found.values()))}
    if out is not None:
        conditions = {
            "layout": layout,
            "precision": precision,
            "threads": threads,
            "commit": commit_of(REPOSITORY),
            "machine": describe_machine(),
            "versions": versions(),
        }
        write_result(
            out, conditions | {"tasks": {name: asdict(one) for name, one in every.items()}}
        )
    click.echo(text_table(HEAD, [row(name, one) for name, one in every.items()]))
    click.echo(
        "largest differences as fractions of the range of good parts' scores and maps\n"
        "same experts: share of images that choose by themselves what their product chose"
    )


def joined(parts: Sequence[Agreement]) -> Agreement:
    """Agreement over all tasks: of the differences the largest, of the share the mean."""
    maps = [one.map_max for one in parts if one.map_max is not None]
    levels = [one.levels_max for one in parts if one.levels_max is not None]
    alike = [(one.same_experts, one.images) for one in parts if one.same_experts is not None]
    choosing = sum(images for _, images in alike)
    return Agreement(
        sum(one.images for one in parts),
        max(one.score_max for one in parts),
        max(maps, default=None),
        sum(one.flips for one in parts),
        max(levels, default=None),
        sum(share * images for share, images in alike) / choosing if alike else None,
    )


def row(name: str, one: Agreement) -> list[str]:
    """Lay out one line of the table."""
    differences = [
        "-" if value is None else f"{value:.1e}"
        for value in (one.score_max, one.map_max, one.levels_max)
    ]
    alike = "-" if one.same_experts is None else figure(one.same_experts)
    return [name, str(one.images), *differences, str(one.flips), alike]


if __name__ == "__main__":
    main()
