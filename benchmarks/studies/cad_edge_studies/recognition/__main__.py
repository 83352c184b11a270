"""Recognition: defects taken for unknown products, and unknown products taken for known ones.

    python -m cad_edge_studies.recognition [--data DIR] [--sizes-of-bundles 1,2,4,9] [--out FILE]

Every category is learned and exported once, by `cad-edge`. Of that one bundle versions with some of
the categories are made, neighbours in alphabetical order, in all rotations (recognition_line.py),
and all test images go through the Detector of each. Besides, a category of few photographs is
learned alone without two of them and shown their good windows (left_out_photographs.py).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from cad_edge.errors import CadEdgeError, OptionError
from cad_edge.store.artifact import read_record
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, data_folder, write_stream
from cad_edge_benchmarks.reporting.tables import (
    UNDEFINED,
    figure,
    percent,
    text_table,
    write_result,
)
from cad_edge_studies.recognition.figures import Figures, rotations, size_figures
from cad_edge_studies.recognition.left_out_photographs import (
    LEFT_OUT,
    STREAM,
    window_figures,
    write_windows,
)
from cad_edge_studies.recognition.line import learned_line, read_images

RESULT = REPOSITORY / "docs" / "results" / "recognition.json"
WINDOWED = "asphalt_b"
"""Category of several windows of each of a few photographs."""


def parse_sizes(text: str, products: int) -> list[int]:
    """Read sizes of bundles; those beyond the number of products are all of them.

    Raises
    ------
    OptionError
        One is not a number of products.
    """
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise OptionError(f"--sizes-of-bundles {text} is not allowed; give numbers, such as 1,2,4")
    return sorted({min(size, products) for size in sizes})


@click.command("recognition")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the open categories.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
@click.option("--task", "tasks", multiple=True, help="Only this category; may be repeated.")
@click.option("--sizes-of-bundles", "sizes", default="1,2,4,9", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--method", help="Passed on to cad-edge train.")
@click.option("--threads", type=int, default=2, show_default=True)
def main(
    data: Path | None,
    out: Path,
    tasks: tuple[str, ...],
    sizes: str,
    seed: int,
    method: str | None,
    threads: int,
) -> None:
    """Measure how products are told from defects, in bundles of several sizes."""
    options = [] if method is None else ["--method", method]
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            names = write_stream(place / STREAM, data_folder(data), tasks)
            result = measure(place, parse_sizes(sizes, len(names)), seed, options, threads)
        print_report(result)
        write_result(out, result)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None


def measure(
    place: Path, sizes: Sequence[int], seed: int, options: Sequence[str], threads: int
) -> Figures:
    """Measure the stream whose file lies in ``place``."""
    line = learned_line(place / STREAM, place, seed, options, threads)
    names = [task.name for task in line.stream.tasks]
    images = read_images(line.stream)
    by_size = {
        str(size): size_figures([line.look(some, images) for some in rotations(names, size)])
        for size in sizes
    }
    windows = None
    for task in line.stream.tasks:
        if task.name == WINDOWED and task.group is not None:
            alone = place / WINDOWED
            kept_out = write_windows(task, alone)
            parts = learned_line(alone / STREAM, alone, seed, options, threads)
            windows = window_figures(parts, kept_out)
    record = read_record(line.artifacts[0])
    return {
        "categories": names,
        "sizes": by_size,
        "windows": windows,
        "seed": seed,
        "method": record.method,
        "hyperparameters": record.hyperparameters,
        "backbone": record.backbone.id,
        "stated_false_reject_rate": line.stream.false_reject_rate,
        "commit": commit_of(REPOSITORY),
        "machine": describe_machine(),
        "threads": threads,
        "versions": versions(),
    }


def print_report(result: Figures) -> None:
    """Print every table."""
    click.echo(
        f"{len(result['categories'])} categories, {result['method']}, seed {result['seed']}; "
        "bundles of one size in all rotations, selector and rules fitted to each without an export"
    )
    head = ["products", "bundles", "defective unknown", "worst", "good not routed", "worst"]
    rows = [_size_row(size, figures) for size, figures in result["sizes"].items()]
    click.echo(text_table([*head, "left out unknown", "AUROC"], rows))
    for size, figures in result["sizes"].items():
        if strangers := figures["left_out_unknown"]["categories"]:
            click.echo(f"\nleft out of bundles of {size}, and what its frames pass for most often")
            strange = [
                [name, percent(value), *_taken_for(figures["taken_for"][name])]
                for name, value in strangers.items()
            ]
            click.echo(text_table(["category", "unknown", "taken for", "of its frames"], strange))
    if (windows := result["windows"]) is not None:
        click.echo(
            f"\n{WINDOWED} alone, good windows of {LEFT_OUT} photographs that were not learned, "
            f"{len(windows['categories'])} choices: {percent(windows['pooled'])} of "
            f"{windows['frames']} called unknown; worst choice: {_worst(windows['categories'])}"
        )


def _size_row(size: str, figures: Figures) -> list[str]:
    known = [
        cell
        for name in ("defective_unknown", "good_not_routed")
        for cell in (percent(figures[name]["mean"]), _worst(figures[name]["categories"]))
    ]
    strangers = percent(figures["left_out_unknown"]["mean"])
    return [size, str(figures["bundles"]), *known, strangers, figure(figures["auroc"], 4)]


def _worst(shares: Figures) -> str:
    defined = {name: value for name, value in shares.items() if value is not None}
    if not any(defined.values()):
        return UNDEFINED
    name = max(defined, key=lambda one: defined[one])
    return f"{percent(defined[name])} ({name})"


def _taken_for(found: Figures | None) -> list[str]:
    return (
        [UNDEFINED] * 2 if found is None else [found["product"], percent(found["share_of_frames"])]
    )


if __name__ == "__main__":
    main()
