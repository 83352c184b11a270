"""What a lower precision gains and costs on this machine: frames in turns, figures on test images.

    python -m cad_edge_studies.precisions [--precision uint8] [--work DIR] [--out FILE]

Learns the nine open categories unless artifacts are given, exports them in float32 and in every
precision asked for, and measures the bundles as `variants` does. With ``--work`` the bundles stay
there, for `variants` on other devices.
"""

import tempfile
from pathlib import Path

import click

from cad_edge_benchmarks.instruments.open_data import data_folder, write_stream
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_studies.open_category_study import RESULTS, study
from cad_edge_studies.peers.cad_edge_bundles import set_up_line
from cad_edge_studies.precisions.variants import Result, Variant, measure, variants_table


@study("precisions", RESULTS / "precisions.json")
@click.option("--artifacts", type=click.Path(path_type=Path), help="What was learned of them.")
@click.option("--precision", "precisions", multiple=True, default=("uint8",), show_default=True)
@click.option("--rounds", type=click.IntRange(min=20), default=100, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep bundles there.")
def main(
    data: Path | None,
    tasks: tuple[str, ...],
    artifacts: Path | None,
    precisions: tuple[str, ...],
    rounds: int,
    threads: int,
    out: Path,
    work: Path | None,
) -> None:
    """Measure precisions on this machine."""
    with tempfile.TemporaryDirectory() as temporary:
        place = (work or Path(temporary)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        stream = place / "stream.json"
        write_stream(stream, data_folder(data), tasks)
        line = set_up_line(stream, artifacts, precisions, place, threads)
        variants = [Variant(name, bundle) for name, bundle in line.bundles.items()]
        measured = measure(variants, line.stream, rounds, threads)
    targets = precision_targets(measured)
    write_result(out, {**measured, "must_reach": [target.record() for target in targets]})
    click.echo(f"{variants_table(measured)}\n\n{targets_table(targets)}")


def precision_targets(result: Result) -> list[Target]:
    """Rows of "must reach" for every variant but the first."""
    (reference, first), *others = result["variants"].items()
    targets = []
    for name, row in others:
        aurocs = [one["evaluation"]["mean"]["image_auroc"] for one in (first, row)]
        lost = None if None in aurocs else aurocs[0] - aurocs[1]
        faster = f"{name} against {reference}, routed frame, ratio of medians"
        targets.append(Target(faster, "at least", 1.5, 1 / row["to_first"], "x"))
        targets.append(Target(f"mean image AUROC lost by {name}", "at most", 0.005, lost))
    return targets


if __name__ == "__main__":
    main()
