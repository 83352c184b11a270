"""cad-edge and anomalib on the same frames, threads and turns.

    python -m cad_edge_studies.peers [--artifacts DIR] [--rounds N] [--out FILE]

Learns the nine open categories where they are, the demo's surfaces otherwise, unless artifacts are
given; exports anomalib's models; times, weighs and evaluates both sides. `make result-peers` makes
the environment first. Takes about twenty minutes on two cores.
"""

import tempfile
from pathlib import Path

import click

from cad_edge.errors import DatasetError
from cad_edge_benchmarks.demo.surfaces import write_line
from cad_edge_benchmarks.instruments.open_data import data_folder, write_stream
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_benchmarks.reporting.targets import targets_table
from cad_edge_studies.open_category_study import RESULTS, made_with, study
from cad_edge_studies.peers.accuracy import measure_accuracy
from cad_edge_studies.peers.cad_edge_bundles import SEED, ProductLine, set_up_line
from cad_edge_studies.peers.environment import FOLDER, PeerEnvironment, find_environment
from cad_edge_studies.peers.report import peer_targets, peers_page
from cad_edge_studies.peers.time_and_memory import measure_time_and_memory

_PATH = click.Path(path_type=Path)


@study("peers", RESULTS / "peers.json")
@click.option("--artifacts", type=_PATH, help="What was learned of the categories before.")
@click.option("--precision", "precisions", multiple=True, default=("uint8",), show_default=True)
@click.option("--rounds", type=click.IntRange(min=5), default=200, show_default=True)
@click.option("--work", type=_PATH, help="Keep bundles and models there.")
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
    """Measure cad-edge beside anomalib on this machine."""
    peers = find_environment(FOLDER, threads)
    with tempfile.TemporaryDirectory() as temporary:
        place = (work or Path(temporary)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        stream = _stream(place, data, tasks)
        line = set_up_line(stream, artifacts, precisions, place, threads)
        result = {**_conditions(line, peers), "rounds": rounds}
        result |= measure_time_and_memory(line, peers, rounds)
        click.echo("accuracy with one trunk; the coresets take minutes")
        result["accuracy"] = measure_accuracy(line, peers)
    targets = peer_targets(result)
    result["must_reach"] = [target.record() for target in targets]
    write_result(out, result)
    out.with_suffix(".md").write_text(peers_page(result), encoding="utf-8")
    click.echo(targets_table(targets))
    click.echo(f"\n{out.with_suffix('.md')} has everything, what anomalib does better first.")


def _stream(place: Path, data: Path | None, names: tuple[str, ...]) -> Path:
    """Write a stream of open categories, or of the demo's surfaces where there are none."""
    try:
        folder = data_folder(data)
    except DatasetError:
        if data is not None or names:
            raise
        return write_line(place / "surfaces", seed=0).stream
    write_stream(place / "stream.json", folder, names)
    return place / "stream.json"


def _conditions(line: ProductLine, peers: PeerEnvironment) -> dict[str, object]:
    """With what the figures were made."""
    record = line.record
    return {
        "stream": line.stream.name,
        "products": len(line.artifacts),
        "seed": SEED,
        "method": record.method,
        "backbone": record.backbone.id,
        "image_size": [record.recipe.height, record.recipe.width],
        "hyperparameters": record.hyperparameters,
        **made_with(line.threads),
        "peer_versions": peers.versions(line.place),
        "peer_weights": "random for latency, memory and files; the trunk's for accuracy",
    }


if __name__ == "__main__":
    main()
