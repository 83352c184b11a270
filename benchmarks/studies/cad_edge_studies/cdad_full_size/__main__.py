"""CDAD on a Stable Diffusion 1.5 whose weights are drawn: exported, and run beside torch.

    python -m cad_edge_studies.cdad_full_size [--work DIR] [--side N] [--threads N] [--out FILE]

Takes 10 GiB of memory, twice as much of disk, and minutes.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cad_edge_benchmarks.instruments.subprocess_worker import run_python
from cad_edge_benchmarks.reporting.tables import figure, text_table, write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_studies.cdad_full_size.pipeline import FULL
from cad_edge_studies.open_category_study import RESULTS, Study, made_with

SIDE = 256  # pixels, as the paper looks
MOST = 16  # GiB of memory
TOLERANCE = 1e-4
_PACKAGE = "cad_edge_studies.cdad_full_size"
_HEAD = ("graph", "MB", "export s", "call s", "difference")


@click.command("cdad_full_size", cls=Study)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--side", type=int, default=SIDE, show_default=True, help="Of the input, in pixels.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "cdad-sizes.json")
@click.option("--work", type=click.Path(path_type=Path), help="Keep pipeline and graphs there.")
def main(threads: int, side: int, out: Path, work: Path | None) -> None:
    """Export at full size on this machine, and compare one call of each graph with torch."""
    with tempfile.TemporaryDirectory() as temporary:
        place = (work or Path(temporary)).absolute()
        click.echo("drawing a pipeline and exporting; this takes minutes")
        found = measure(place, FULL, side, threads)
    targets = size_targets(found)
    record = {"must_reach": [target.record() for target in targets]}
    write_result(out, {"side": side, **made_with(threads), **found, **record})
    click.echo(f"{size_table(found)}\n\n{targets_table(targets)}")


def measure(
    place: Path, dimensions: Mapping[str, Mapping[str, Any]], side: int, threads: int
) -> dict[str, Any]:
    """Make the pipeline in ``place`` if it is not there, and export its graphs."""
    pipeline = place / "pipeline"
    if not (pipeline / "scheduler").is_dir():  # which is written last
        run_python("the pipeline", "-m", f"{_PACKAGE}.pipeline", pipeline, json.dumps(dimensions))
    module = f"{_PACKAGE}.exporting"
    said = run_python("the export", "-m", module, pipeline, place / "graphs", side, threads)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def size_targets(found: Mapping[str, Any]) -> list[Target]:
    """Rows of "must reach" at full size."""
    worst = max(one["difference"] for one in found["graphs"].values())
    memory = found["peak_bytes"] / 2**30
    return [
        Target("peak memory of the export", "at most", MOST, memory, "GiB"),
        Target("engine against torch, worst graph", "at most", TOLERANCE, worst, ""),
    ]


def size_table(found: Mapping[str, Any]) -> str:
    """Lay out what was measured."""
    rows = []
    for name, one in found["graphs"].items():
        size = figure(sum(one["bytes"].values()) / 1e6, 0)
        times = [figure(one[which], 1) for which in ("export_seconds", "call_seconds")]
        rows.append([name, size, *times, f"{one['difference']:.1e}"])
    return text_table(_HEAD, rows)


if __name__ == "__main__":
    main()
