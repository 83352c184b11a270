"""Recognition: defects taken for unknown products, and unknown products taken for known ones.

    python -m cad_edge_studies.recognition [--data DIR] [--sizes-of-bundles 1,2,4,9] [--out FILE]

Every category is learned and exported once, by `cad-edge`. Of that one bundle versions with some of
the categories are made, neighbours in alphabetical order, in all rotations (`product_subsets`), and
all test images go through the Detector of each. Besides, a category of few photographs is learned
alone without two of them and shown their good windows (`left_out_photographs`).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.open_data import data_folder, write_stream
from cad_edge_benchmarks.reporting.tables import (
    UNDEFINED,
    figure,
    percent,
    text_table,
    write_result,
)
from cad_edge_studies.learned_stream import LearnedStream, learn_stream
from cad_edge_studies.open_category_study import RESULTS, study
from cad_edge_studies.open_set import frames_of, predict
from cad_edge_studies.recognition.figures import (
    BundlePredictions,
    Figures,
    rotations,
    size_figures,
)
from cad_edge_studies.recognition.left_out_photographs import (
    LEFT_OUT,
    STREAM,
    window_figures,
    write_windows,
)
from cad_edge_studies.recognition.product_subsets import ProductSubsets

RESULT = RESULTS / "recognition.json"
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


@study("recognition", RESULT)
@click.option("--sizes-of-bundles", "sizes", default="1,2,4,9", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--method", help="Passed on to cad-edge train.")
def main(
    data: Path | None,
    out: Path,
    tasks: tuple[str, ...],
    threads: int,
    sizes: str,
    seed: int,
    method: str | None,
) -> None:
    """Measure how products are told from defects, in bundles of several sizes."""
    options = [] if method is None else ["--method", method]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        names = write_stream(place / STREAM, data_folder(data), tasks)
        result = measure(place, parse_sizes(sizes, len(names)), seed, options, threads)
    print_report(result)
    write_result(out, result)


def measure(
    place: Path, sizes: Sequence[int], seed: int, options: Sequence[str], threads: int
) -> Figures:
    """Measure the stream whose file lies in ``place``."""
    learned = learn_stream(place / STREAM, place, seed, options, threads)
    record = learned.record
    return {
        "categories": [task.name for task in learned.stream.tasks],
        "sizes": _by_size(learned, sizes, seed),
        "windows": _windows(learned, seed, options),
        "seed": seed,
        "method": record.method,
        "hyperparameters": record.hyperparameters,
        "backbone": record.backbone.id,
        **learned.conditions(),
    }


def _by_size(learned: LearnedStream, sizes: Sequence[int], seed: int) -> Figures:
    """Show all test images to bundles of each size."""
    subsets = ProductSubsets(learned, seed)
    tasks = learned.stream.tasks
    frames = [frame for task in tasks for frame in frames_of(task, in_memory=True)]
    found: Figures = {}
    for size in sizes:
        bundles = []
        for names in rotations([task.name for task in tasks], size):
            with subsets.open(names) as detector:
                bundles.append(BundlePredictions(names, predict(detector, frames)))
        found[str(size)] = size_figures(bundles)
    return found


def _windows(learned: LearnedStream, seed: int, options: Sequence[str]) -> Figures | None:
    """Learn the windowed category without some photographs; None where they are not known."""
    for task in learned.stream.tasks:
        if task.name == WINDOWED and task.group is not None:
            place = learned.place / WINDOWED
            kept_out = write_windows(task, place)
            alone = learn_stream(place / STREAM, place, seed, options, learned.threads)
            return window_figures(ProductSubsets(alone, seed), kept_out)
    return None


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
        if unlearned := figures["left_out_unknown"]["categories"]:
            click.echo(f"\nleft out of bundles of {size}, and what its frames pass for most often")
            rows = [
                [name, percent(value), *_taken_for(figures["taken_for"][name])]
                for name, value in unlearned.items()
            ]
            click.echo(text_table(["category", "unknown", "taken for", "of its frames"], rows))
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
    unlearned = percent(figures["left_out_unknown"]["mean"])
    return [size, str(figures["bundles"]), *known, unlearned, figure(figures["auroc"], 4)]


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
