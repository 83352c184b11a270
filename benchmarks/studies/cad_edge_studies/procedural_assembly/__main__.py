"""Write the procedural assembly.

python -m cad_edge_studies.procedural_assembly FOLDER [--train N --good N --each N --seed N]
"""

from pathlib import Path

import click

from cad_edge.errors import CadEdgeError
from cad_edge_studies.procedural_assembly.scenes import LEVELS
from cad_edge_studies.procedural_assembly.writing import write_assembly

RATE = 0.05  # false-reject rate of the stream
_COUNT = click.IntRange(min=1)


@click.command("assembly")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--train", type=_COUNT, default=60, show_default=True, help="Good parts to learn.")
@click.option("--good", type=_COUNT, default=30, show_default=True, help="Good parts to test.")
@click.option("--each", type=_COUNT, default=10, show_default=True, help="Parts with each defect.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def main(folder: Path, train: int, good: int, each: int, seed: int) -> None:
    """Draw images of kit trays, good and defective, and a stream file."""
    try:
        stream = write_assembly(folder, train, good, each, seed, RATE)
    except (CadEdgeError, OSError) as problem:
        raise click.ClickException(str(problem)) from None
    click.echo(f"{len(LEVELS)} kinds of defects: {stream}")


if __name__ == "__main__":
    main()
