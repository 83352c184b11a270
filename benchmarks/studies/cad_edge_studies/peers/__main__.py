"""cad-edge and anomalib on the same frames, threads and turns.

    python -m cad_edge_studies.peers [--artifacts DIR] [--rounds N] [--out FILE]

Learns the nine open categories where they are, the demo's surfaces otherwise, unless artifacts are
given; exports anomalib's models; times, weighs and evaluates both sides. `make result-peers` makes
the environment first. Takes about twenty minutes on two cores.
"""

import tempfile
from pathlib import Path

import click

from cad_edge.errors import CadEdgeError, DatasetError
from cad_edge_benchmarks.demo.surfaces import write_line
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, data_folder, write_stream
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_benchmarks.reporting.targets import targets_table
from cad_edge_studies.peers.accuracy import measure_accuracy
from cad_edge_studies.peers.cad_edge_bundles import ProductLine, set_up_line
from cad_edge_studies.peers.environment import FOLDER, PeerEnvironment, find_environment
from cad_edge_studies.peers.report import peers_page
from cad_edge_studies.peers.time_and_memory import measure_time_and_memory
from cad_edge_studies.peers.verdicts import peer_targets

RESULT = REPOSITORY / "docs" / "results" / "peers.json"
_PATH = click.Path(path_type=Path)


@click.command("peers")
@click.option("--environment", type=_PATH, default=FOLDER, help="Where anomalib is installed.")
@click.option("--data", type=_PATH, help="Folder of the open categories.")
@click.option("--task", "names", multiple=True, help="Only this category; may be repeated.")
@click.option("--artifacts", type=_PATH, help="What was learned of them before.")
@click.option("--precision", "precisions", multiple=True, default=("uint8",), show_default=True)
@click.option("--rounds", type=click.IntRange(min=5), default=200, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=_PATH, default=RESULT, help="The page goes beside it, as .md.")
@click.option("--work", type=_PATH, help="Keep bundles and models there.")
def main(
    environment: Path,
    data: Path | None,
    names: tuple[str, ...],
    artifacts: Path | None,
    precisions: tuple[str, ...],
    rounds: int,
    threads: int,
    seed: int,
    out: Path,
    work: Path | None,
) -> None:
    """Measure cad-edge beside anomalib on this machine."""
    try:
        peers = find_environment(environment, threads)
        with tempfile.TemporaryDirectory() as temporary:
            place = (work or Path(temporary)).absolute()
            place.mkdir(parents=True, exist_ok=True)
            stream = _stream(place, data, names)
            line = set_up_line(stream, artifacts, precisions, place, threads, seed)
            conditions = _conditions(line, peers, rounds, seed)
            measured = measure_time_and_memory(line, peers, rounds, seed)
            click.echo("accuracy with one trunk; the coresets take minutes")
            result = {**conditions, **measured, "accuracy": measure_accuracy(line, peers, seed)}
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
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


def _conditions(
    line: ProductLine, peers: PeerEnvironment, rounds: int, seed: int
) -> dict[str, object]:
    """With what the figures were made."""
    record = line.record
    return {
        "stream": line.stream.name,
        "products": len(line.artifacts),
        "seed": seed,
        "method": record.method,
        "backbone": record.backbone.id,
        "image_size": [record.recipe.height, record.recipe.width],
        "hyperparameters": record.hyperparameters,
        "commit": commit_of(REPOSITORY),
        "versions": versions(),
        "peer_versions": peers.versions(line.place),
        "threads": line.threads,
        "rounds": rounds,
        "peer_weights": "random for latency, memory and files; the trunk's for accuracy",
        "machine": describe_machine(),
    }


if __name__ == "__main__":
    main()
