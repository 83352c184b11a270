"""Latency and memory of the runtime on this machine, and every target that depends on them.

    python -m cad_edge_studies.latency [--artifacts DIR] [--rounds N] [--out FILE]

Measures the default configuration on artifacts that were learned before, or learns three products
first: three of the open categories where they are there, three surfaces of the demo otherwise.
Everything that is compared takes turns in one run. Frames are uint8 arrays of the recipe's size, so
decoding and resizing are not in these figures.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from cad_edge.errors import CadEdgeError, DatasetError, OptionError
from cad_edge.store.artifact import list_artifacts, read_artifact, read_record
from cad_edge_benchmarks.demo.surfaces import write_line
from cad_edge_benchmarks.instruments.command_runner import learn
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, data_folder, write_stream
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_studies.accuracy.__main__ import RESULT as ACCURACY
from cad_edge_studies.latency.bench import Bench
from cad_edge_studies.latency.report import latency_targets, print_report

RESULT = REPOSITORY / "docs" / "results" / "latency.json"
_PRODUCTS = ("cookie", "fabric_a", "screw_on_wood")


@click.command("latency")
@click.option("--artifacts", type=click.Path(path_type=Path), help="Learned tasks, three or more.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
@click.option("--rounds", type=click.IntRange(min=20), default=400, show_default=True)
@click.option("--tasks", type=click.IntRange(min=4), default=100, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep bundles there.")
def main(
    artifacts: Path | None, out: Path, rounds: int, tasks: int, threads: int, work: Path | None
) -> None:
    """Measure latency and memory on this machine."""
    try:
        with tempfile.TemporaryDirectory() as temporary:
            place = work or Path(temporary)
            place.mkdir(parents=True, exist_ok=True)
            result = measure(_three(artifacts, place), place, rounds, tasks, threads)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    result["must_reach"] = [target.record() for target in latency_targets(result)]
    write_result(out, result)
    print_report(result, ACCURACY)


def _three(artifacts: Path | None, place: Path) -> list[Path]:
    """Three artifacts, learned now if none are given."""
    folder = artifacts or place / "artifacts"
    if artifacts is None:
        click.echo("learning three products")
        learn(_stream(place), folder, seed=0)
    found = list_artifacts(folder)[:3]
    if len(found) < 3:
        raise OptionError(f"{folder} holds {len(found)} artifacts; give a folder with three")
    for artifact in found:
        if read_record(artifact).depth is not None:
            raise OptionError(
                f"{artifact.name} looks at depth, and this shows images alone; "
                "`cad-edge benchmark` measures bundles with depth"
            )
    return found


def _stream(place: Path) -> Path:
    """Write a stream of three open categories, or of the demo's surfaces where there are none."""
    try:
        folder = data_folder()
    except DatasetError:
        return write_line(place / "surfaces", seed=0).stream
    stream_file = place / "stream.json"
    write_stream(stream_file, folder, _PRODUCTS)
    return stream_file


def measure(
    artifacts: list[Path], place: Path, rounds: int, tasks: int, threads: int
) -> dict[str, object]:
    """Measure everything; the result as it is written."""
    bench = Bench(artifacts, place, threads)
    click.echo("routed, task given and bare trunk in turns")
    turns = bench.against_trunk(rounds)
    click.echo("hot pick-up while a line runs")
    picked_up = bench.pick_up()
    click.echo(f"a bundle of {tasks} tasks (its export takes minutes)")
    many = bench.many_tasks(tasks, rounds)
    click.echo("device processes")
    record = read_artifact(artifacts[0]).artifact
    return {
        "method": record.method,
        "backbone": record.backbone.id,
        "image_size": [record.recipe.height, record.recipe.width],
        "hyperparameters": record.hyperparameters,
        "commit": commit_of(REPOSITORY),
        "machine": describe_machine(),
        "versions": versions(),
        "threads": threads,
        "provider": "CPUExecutionProvider",
        "graphs": bench.graphs(),
        "turns": asdict(turns),
        "pick_up": asdict(picked_up),
        "many_tasks": asdict(many),
        "start": asdict(bench.start()),
    }


if __name__ == "__main__":
    main()
