"""Recognition: defects taken for unknown products, and unknown products taken for known ones.

    python -m cad_edge_studies.recognition [--data DIR] [--sizes-of-bundles 1,2,4,9] [--out FILE]

Every category is learned and exported once, by `cad-edge`. Of that one bundle versions with some of
the categories are made, neighbours in alphabetical order, in all rotations, and
all test images go through the Detector of each. Besides, a category of few photographs is learned
alone without two of them and shown their good windows (`left_out_photographs`).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.open_data import data_folder, open_stream
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
from cad_edge_studies.recognition.figures import Figures, rotations, size_figures
from cad_edge_studies.recognition.left_out_photographs import LEFT_OUT, window_figures

RESULT = RESULTS / "recognition.json"
WINDOWED = "asphalt_b"
"""Category of several windows of each of a few photographs."""
NO_PRODUCT = {"product": UNDEFINED, "share_of_frames": None}


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
    stream = open_stream(data_folder(data), tasks)
    chosen = parse_sizes(sizes, len(stream.tasks))
    windows = None
    with tempfile.TemporaryDirectory() as folder:
        learned = learn_stream(stream, Path(folder), seed, options, threads)
        by_size = _by_size(learned, chosen, seed)
        for task in stream.tasks:
            if task.name == WINDOWED and task.group is not None:
                windows = window_figures(task, learned.place / WINDOWED, seed, options, threads)
        record = learned.record
        result = {
            "categories": [task.name for task in stream.tasks],
            "sizes": by_size,
            "windows": windows,
            "seed": seed,
            "method": record.method,
            "hyperparameters": record.hyperparameters,
            "backbone": record.backbone.id,
            **learned.conditions(),
        }
    print_report(result)
    write_result(out, result)


def _by_size(learned: LearnedStream, sizes: Sequence[int], seed: int) -> Figures:
    """Show all test images to bundles of each size."""
    tasks, versions = learned.stream.tasks, learned.versions(seed)
    frames = [frame for task in tasks for frame in frames_of(task, in_memory=True)]
    found: Figures = {}
    for size in sizes:
        bundles = {}
        for names in rotations([task.name for task in tasks], size):
            versions.commit(names)
            with learned.open(versions.path) as detector:
                bundles[names] = predict(detector, frames)
        found[str(size)] = size_figures(bundles)
    return found


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
            rows = []
            for name, unknown in unlearned.items():
                taken: Figures = figures["taken_for"][name] or NO_PRODUCT
                often = percent(taken["share_of_frames"])
                rows.append([name, percent(unknown), taken["product"], often])
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
    left_out = percent(figures["left_out_unknown"]["mean"])
    return [size, str(figures["bundles"]), *known, left_out, figure(figures["auroc"], 4)]


def _worst(shares: Figures) -> str:
    defined = {name: value for name, value in shares.items() if value is not None}
    if not any(defined.values()):
        return UNDEFINED
    name = max(defined, key=lambda one: defined[one])
    return f"{percent(defined[name])} ({name})"


if __name__ == "__main__":
    main()
