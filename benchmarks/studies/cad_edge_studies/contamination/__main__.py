"""Contaminated training images: what defective parts among the good ones cost, and who finds them.

    python -m cad_edge_studies.contamination [--data DIR] [--out FILE]

Real defective images of each category are put among its good parts (2, 5 and 10 % of them, drawn
with the seed and then absent from the test). Each set is learned with and without the outlier rule;
image AUROC, defects found and false rejects are those of the remaining test parts, the product
given. How `cad-edge check` ranks the planted ones: the share of them among its first tenth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from cad_edge.calibration import decide
from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.instruments.command_runner import quiet
from cad_edge_benchmarks.instruments.metrics import image_auroc, mean_defined
from cad_edge_benchmarks.instruments.open_data import data_folder, open_stream
from cad_edge_benchmarks.reporting.tables import figure_rows, text_table, write_result
from cad_edge_studies.learning_request import request_of
from cad_edge_studies.open_category_study import RESULTS, made_with, study
from cad_edge_training.backbones import Backbone, load_backbone
from cad_edge_training.check.outliers import rank_outliers
from cad_edge_training.images import read_images
from cad_edge_training.learned import Images
from cad_edge_training.methods.patch_memory.config import Config, defaults_for
from cad_edge_training.methods.patch_memory.learn import build_model, learn
from cad_edge_training.patch_features import in_batches

RESULT = RESULTS / "contamination.json"
SHARES = (0.0, 0.02, 0.05, 0.1)
FIRST = 0.1  # of all images: how far down the ranking of suspects somebody looks
BACKBONE = "efficientnet-lite0"
Figures = dict[str, float | None]


@dataclass(frozen=True)
class ContaminatedCategory:
    """Good parts of a category with some defective ones among them, and what is left to test."""

    task: StreamTask
    images: Images
    planted: NDArray[np.bool_]
    """(n,) which of them have a defect."""
    groups: tuple[str, ...] | None
    test: Images
    defective: NDArray[np.bool_]


@study("contamination", RESULT)
@click.option("--share", "shares", multiple=True, type=float, default=SHARES, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(
    data: Path | None,
    out: Path,
    tasks: tuple[str, ...],
    threads: int,
    shares: tuple[float, ...],
    seed: int,
) -> None:
    """Plant defective parts among good ones, and measure what that does."""
    torch.set_num_threads(threads)
    stream = open_stream(data_folder(data), tasks)
    backbone = load_backbone(BACKBONE)
    rows: dict[str, dict[str, Figures]] = {f"{share:.0%}": {} for share in shares}
    for task in stream.tasks:
        click.echo(task.name, err=True)
        for share in shares:
            mixed = contaminate(task, backbone, share, seed)
            found = _figures(mixed, backbone, stream.false_reject_rate, seed)
            rows[f"{share:.0%}"][task.name] = found
    means = {share: _means(of_tasks) for share, of_tasks in rows.items()}
    result = {"seed": seed, "backbone": BACKBONE, "shares": rows, "mean": means, **made_with()}
    write_result(out, result)
    columns = list(next(iter(means.values())))
    head = ["planted", *(name.replace("_", " ") for name in columns)]
    click.echo(text_table(head, figure_rows(columns, means)))


def _means(of_tasks: Mapping[str, Figures]) -> Figures:
    names = next(iter(of_tasks.values()))
    return {name: mean_defined([one[name] for one in of_tasks.values()]) for name in names}


def contaminate(
    task: StreamTask, backbone: Backbone, share: float, seed: int
) -> ContaminatedCategory:
    """Put defective test images among the good parts, ``share`` of all that result."""
    product = task.samples()
    bad = [item for item in product.test if item.anomalous]
    count = min(round(share * len(product.train) / (1 - share)), len(bad) // 2)
    places = np.random.default_rng(seed).permutation(len(bad))[:count]
    taken = {bad[place].path for place in places}
    rest = [item for item in product.test if item.path not in taken]
    paths = [*product.train, *sorted(taken)]
    groups = task.groups(product)
    if groups is not None:
        groups = (*groups, *(f"planted {number}" for number in range(count)))
    return ContaminatedCategory(
        task,
        read_images(paths, backbone.recipe, quiet),
        np.arange(len(paths)) >= len(product.train),
        groups,
        read_images([item.path for item in rest], backbone.recipe, quiet),
        np.array([item.anomalous for item in rest]),
    )


def _figures(mixed: ContaminatedCategory, backbone: Backbone, rate: float, seed: int) -> Figures:
    found: Figures = {}
    config = Config.model_validate(defaults_for(BACKBONE))
    for name, keep in (("", False), (" (outliers kept)", True)):
        request = request_of(mixed.task, mixed.images, mixed.groups, backbone, rate, seed, keep)
        learned = learn(request, config)
        scores = _scores(build_model(backbone, config, learned.tensors), mixed.test)
        rejected = scores > decide(learned.calibration, rate).threshold
        if not keep:
            found["image_auroc"] = image_auroc(mixed.defective, scores)
        found[f"found{name}"] = float(rejected[mixed.defective].mean())
        found[f"false_rejects{name}"] = float(rejected[~mixed.defective].mean())
    ranking = rank_outliers(mixed.images, backbone, mixed.groups).ranking()
    first = ranking[: max(1, round(FIRST * len(ranking)))]
    planted = int(mixed.planted.sum())
    found["planted_among_first"] = mixed.planted[first].sum() / planted if planted else None
    return found


def _scores(model: torch.nn.Module, images: Images) -> NDArray[np.float64]:
    return in_batches(images, lambda batch: model(batch)[0], quiet).double().numpy()


if __name__ == "__main__":
    main()
