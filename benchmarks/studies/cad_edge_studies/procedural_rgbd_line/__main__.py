"""Write the procedural line with depth.

python -m cad_edge_studies.procedural_rgbd_line FOLDER [--train N --good N --each N --seed N]
[--grid PNG]
"""

from pathlib import Path

import click

from cad_edge.errors import CadEdgeError
from cad_edge_studies.procedural_rgbd_line.grid import draw_grid
from cad_edge_studies.procedural_rgbd_line.parts import PARTS
from cad_edge_studies.procedural_rgbd_line.writing import write_line

_COUNT = click.IntRange(min=1)


@click.command("rgbd_line")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--train", type=_COUNT, default=24, show_default=True, help="Good parts to learn.")
@click.option("--good", type=_COUNT, default=12, show_default=True, help="Good parts to test.")
@click.option("--each", type=_COUNT, default=3, show_default=True, help="Parts with each defect.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="False-reject rate of the stream.",
)
@click.option("--grid", type=click.Path(path_type=Path), help="Write a picture of the line there.")
def main(
    folder: Path, train: int, good: int, each: int, seed: int, rate: float, grid: Path | None
) -> None:
    """Draw images of twelve parts with depth, good and defective, and a stream file."""
    try:
        stream = write_line(folder, [[name] for name in PARTS], train, good, each, seed, rate)
        if grid is not None:
            draw_grid(grid, seed)
    except (CadEdgeError, OSError) as problem:
        raise click.ClickException(str(problem)) from None
    click.echo(f"{len(PARTS)} products: {stream}")


if __name__ == "__main__":
    main()
