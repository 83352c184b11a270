"""Write the procedural line with depth.

python -m cad_edge_studies.procedural_rgbd_line FOLDER [--train N --good N --each N --seed N]
"""

from pathlib import Path

import click

from cad_edge.errors import CadEdgeError
from cad_edge_studies.procedural_rgbd_line.parts import PARTS
from cad_edge_studies.procedural_rgbd_line.writing import write_line

RATE = 0.1  # false-reject rate of the stream
_COUNT = click.IntRange(min=1)


@click.command("rgbd_line")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--train", type=_COUNT, default=24, show_default=True, help="Good parts to learn.")
@click.option("--good", type=_COUNT, default=12, show_default=True, help="Good parts to test.")
@click.option("--each", type=_COUNT, default=3, show_default=True, help="Parts with each defect.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def main(folder: Path, train: int, good: int, each: int, seed: int) -> None:
    """Draw images of twelve parts with depth, good and defective, and a stream file."""
    try:
        stream = write_line(folder, [[name] for name in PARTS], train, good, each, seed, RATE)
    except (CadEdgeError, OSError) as problem:
        raise click.ClickException(str(problem)) from None
    click.echo(f"{len(PARTS)} products: {stream}")


if __name__ == "__main__":
    main()
