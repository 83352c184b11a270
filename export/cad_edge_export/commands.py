"""The command `cad-edge export`."""

from pathlib import Path

import click


@click.command()
@click.argument("artifacts", type=click.Path(path_type=Path))
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the bundle; created if it does not exist.",
)
@click.option(
    "--layout",
    type=click.Choice(["shared", "fused"]),
    default="shared",
    show_default=True,
    help="shared: one graph for all tasks, each adds a few hundred KB; fused: one file per task.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8", "uint8"]),
    default="fp32",
    show_default=True,
    help="fp16 and int8 are for GPUs (int8 follows TensorRT's rules), uint8 is for CPUs; language "
    "models cannot be exported in int8.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Stream file that lists the good parts on which int8 or uint8 is calibrated; for a method "
    "whose model changes with each task, it must list all its tasks.",
)
@click.option(
    "--selector",
    type=click.Choice(["discriminant", "key_set"]),
    help="How products are recognised [default: what the bundle has, else discriminant].",
)
@click.option("--backbone", help="Where the backbone's weights are, e.g. clip:FOLDER.")
@click.option(
    "--explanations/--no-explanations",
    default=True,
    show_default=True,
    help="Whether tasks learned with a language model can answer questions by `cad-edge explain`.",
)
@click.option(
    "--merge-shared",
    is_flag=True,
    help="Give shared experts the same weights for every image, so that they are merged as well "
    "(cl_anomaly, fused); an approximation, whose error is in the certificate.",
)
@click.option(
    "--without-depth",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Artifacts of the same products, learned from images alone; they inspect frames that have "
    "no depth.",
)
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
) -> None:
    """Add to BUNDLE the tasks of ARTIFACTS that it does not hold yet."""
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
            progress=progress("export"),
        )
    if done.added:
        click.echo(f"added {', '.join(done.added)} to {bundle}")
    else:
        click.echo(f"{bundle} holds all of {artifacts} already")
    for line in done.notes:
        click.echo(line)
