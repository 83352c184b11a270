"""Time and memory of an incremental SVD by its number of blocks, and of second moments.

python -m cad_edge_studies.cdad_decomposition [--threads N] [--out FILE]
"""

import json
from pathlib import Path
from typing import Any

import click

from cad_edge_benchmarks.instruments.subprocess_worker import run_python
from cad_edge_benchmarks.reporting.tables import figure, text_table, write_result
from cad_edge_studies.open_category_study import RESULTS, Study, made_with

IMAGES = 16
BLOCKS = (1, 4, 16)
MODULE = "cad_edge_studies.cdad_decomposition.recording"
WAYS = (("gram", 1), *(("isvd", blocks) for blocks in BLOCKS), ("paper_isvd", IMAGES))
"""Kinds of bases, and into how many blocks the images are divided; a sum has no blocks."""


@click.command("cdad_decomposition", cls=Study)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "cdad-decomposition.json")
def main(threads: int, out: Path) -> None:
    """Measure every way, each in a process of its own."""
    rows = [measure(bases, blocks, threads) for bases, blocks in WAYS]
    write_result(out, {"images": IMAGES, **made_with(threads), "ways": rows})
    head = ("bases", "blocks", "seconds", "MB", "share of directions")
    click.echo(text_table(head, [_cells(row) for row in rows]))


def measure(bases: str, blocks: int, threads: int, images: int = IMAGES) -> dict[str, Any]:
    """Run one way; seconds, bytes above what the network takes, and share of directions taken."""
    said = run_python(f"{bases} in {blocks}", "-m", MODULE, bases, blocks, images, threads)
    return {"bases": bases, "blocks": blocks, **json.loads(said.splitlines()[-1])}


def _cells(row: dict[str, Any]) -> list[str]:
    blocks = "-" if row["bases"] == "gram" else str(row["blocks"])
    sizes = figure(row["seconds"], 1), figure(row["bytes"] / 1e6, 0), figure(row["share"], 2)
    return [row["bases"], blocks, *sizes]


if __name__ == "__main__":
    main()
