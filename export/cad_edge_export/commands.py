"""The command `cad-edge export`."""

from datetime import datetime
from pathlib import Path
from typing import get_args

import click

from cad_edge import options
from cad_edge.store.manifest import GraphLayout, Precision, SelectorKind


@click.command()
@click.argument("artifacts", type=click.Path(path_type=Path))
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Bundle to add to; created if it does not exist.",
)
@click.option(
    "--layout",
    type=click.Choice(get_args(GraphLayout)),
    default="shared",
    show_default=True,
    help="shared: one graph for all products, each adds a few hundred KB; fused: one graph for "
    "each product.",
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="fp32",
    show_default=True,
    help="fp16 and int8 are for GPUs (int8 by TensorRT's rules), uint8 is for CPUs; a language "
    "model cannot be exported in int8.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Good parts on which int8 or uint8 is calibrated: what `cad-edge train --stream` had. "
    "For a method whose model changes with every product, it must hold all of them.",
)
@click.option(
    "--selector",
    type=click.Choice(get_args(SelectorKind)),
    help="How products are recognised [default: as in the bundle; for a new one discriminant].",
)
@options.backbone(None)
@click.option(
    "--explanations/--no-explanations",
    default=True,
    show_default=True,
    help="Whether products learned with a language model can be asked by `cad-edge explain`.",
)
@click.option(
    "--merge-shared",
    is_flag=True,
    help="Merge the shared experts of cl_anomaly (with --layout fused), too, with weights that no "
    "longer depend on the image; an approximation, whose error is in the certificate.",
)
@click.option(
    "--without-depth",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Artifacts of the same products that were learned without depth; they inspect frames that "
    "have none.",
)
@options.sign
@options.expires
@options.trusted_keys
def export(
    artifacts: Path,
    bundle: Path,
    layout: str,
    precision: str,
    calibration: Path | None,
    selector: str | None,
    backbone: str | None,
    explanations: bool,
    merge_shared: bool,
    without_depth: Path | None,
    sign: Path | None,
    expires: datetime | None,
) -> None:
    """Add to a bundle the products of ARTIFACTS that it does not hold yet.

    ARTIFACTS is the folder that `cad-edge train` wrote. Every graph is compared with torch before
    it is added, and its certificate says how closely they agree. Give --backbone where the folder
    of the backbone's weights has moved.
    """
    from cad_edge_export.bundle_export import export as run
    from cad_edge_training.commands import progress_bars

    with progress_bars() as progress:
        done = run(
            artifacts,
            bundle,
            layout,  # type: ignore[arg-type]
            precision,  # type: ignore[arg-type]
            calibration,
            selector,  # type: ignore[arg-type]
            backbone,
            explanations,
            merge_shared,
            without_depth,
            sign,
            expires,
            progress=progress("export"),
        )
    if done.added:
        click.echo(f"added {', '.join(done.added)} to {bundle}")
    else:
        click.echo(f"{bundle} holds all of {artifacts} already")
    for line in done.notes:
        click.echo(line)
