"""IB-IUMAD on real parts with depth: image, depth and both.

    python -m cad_edge_studies.rgbd_comparison.real_parts [--data DIR] [--work DIR]

A product of the open data, learned on its own. One product has few images, so it gets as many
looks at images as ten of the procedural line get together: that sets the number of passes, before
anything is judged. Runs that ``--work`` holds are not learned again, unless the method's options
have changed since.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from cad_edge.data.stream import Stream, read_stream
from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, categories, data_folder
from cad_edge_benchmarks.reporting.tables import figure, markdown_table, write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_studies.rgbd_comparison.learning import kept, learn_into
from cad_edge_studies.rgbd_comparison.task_sequence import MODALITIES, RATE, SEEDS

RESULT = REPOSITORY / "docs" / "results" / "ib-iumad-open.json"
PRODUCT = "asphalt_b"
PASSES = 100
"""Over 31 images that are learned from: 3,100 looks; the line's first step takes 3,000."""
FIGURES = ("image_auroc", "pixel_auroc", "aupro", "false_rejects")


@click.command("real_parts")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the open categories.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep runs there.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
def main(data: Path | None, work: Path | None, threads: int, out: Path) -> None:
    """Learn a real product by image, by depth and by both."""
    import torch

    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            runs = _all_runs(data_folder(data), work or Path(temporary))
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    reached = targets(runs)
    write_result(
        out,
        {
            "product": PRODUCT,
            "passes": PASSES,
            "threads": threads,
            "machine": describe_machine(),
            "versions": versions(),
            "commit": commit_of(REPOSITORY),
            "must_reach": [target.record() for target in reached],
            "runs": runs,
        },
    )
    click.echo(f"{table(runs)}\n\n{targets_table(reached)}")


def _all_runs(data: Path, work: Path) -> dict[str, dict[str, Any]]:
    """Figures of every seed by modality and seed; what ``work`` holds is read."""
    work.mkdir(parents=True, exist_ok=True)
    stream = _stream(data, work / "stream.json")
    found = {}
    for modality in MODALITIES:
        for seed in SEEDS:
            name = run_name(modality, seed)
            options = {"modality": modality, "epochs": str(PASSES)}
            judged = kept(work / name, options)
            if judged is None:
                judged = learn_into(work / name, stream, [(PRODUCT,)], options, seed)
                click.echo(f"{name}: {judged['seconds']:.0f} s", err=True)
            found[name] = judged
    return found


def _stream(data: Path, target: Path) -> Stream:
    folder, layout = categories(data)[PRODUCT]
    one = {"name": PRODUCT, "path": str(folder.resolve()), "layout": layout}
    stream = {"name": PRODUCT, "false_reject_rate": RATE, "tasks": [one]}
    target.write_text(json.dumps(stream), encoding="utf-8")
    return read_stream(target)


def run_name(modality: str, seed: int) -> str:
    """Folder of a run, and its name in the result."""
    return f"{modality}_{seed}"


def mean(runs: Mapping[str, Mapping[str, Any]], modality: str, name: str) -> float:
    """Mean over seeds of a figure, 0 to 1."""
    return float(np.mean([runs[run_name(modality, seed)]["last"][PRODUCT][name] for seed in SEEDS]))


def targets(runs: Mapping[str, Mapping[str, Any]]) -> list[Target]:
    """Rows of "must reach", by means over seeds."""
    both = mean(runs, "rgbd", "pixel_auroc")
    single = max(mean(runs, modality, "pixel_auroc") for modality in ("rgb", "depth"))
    return [
        Target(f"{PRODUCT}, pixel AUROC of both", "at least", 0.9, both),
        Target(f"{PRODUCT}, pixel AUROC of the better alone", "at most", both, single),
    ]


def table(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Means over seeds, in Markdown."""
    rows = [[one, *(figure(mean(runs, one, name)) for name in FIGURES)] for one in MODALITIES]
    return markdown_table(("sees", "I-AUROC", "P-AUROC", "AUPRO", "false rejects"), rows)


if __name__ == "__main__":
    main()
