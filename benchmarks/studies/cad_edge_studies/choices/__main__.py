"""How the defaults of the patch memory are chosen: by the categories they are not reported on.

    python -m cad_edge_studies.choices [--data DIR] [--out FILE]

Every setting is learned on every category, the product given, and judged by its test parts. For
each category the setting whose scores find most defects on the *other* categories is taken, the
threshold placed by their good test parts so that no calibration comes between; its figures on this
one are reported: the means of the last row are of categories without a say. A second table thins
out the held-out scores of the larger categories and shows what thresholds from few good parts do:
the order statistic, and the one that a device decides with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cad_edge.calibration import conformal_threshold, decision_threshold, find_outliers
from cad_edge.data.stream import Stream
from cad_edge_benchmarks.instruments.metrics import image_auroc
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, data_folder, open_stream
from cad_edge_benchmarks.instruments.verdicts import perfect_threshold
from cad_edge_benchmarks.reporting.evaluation_tables import Table
from cad_edge_benchmarks.reporting.tables import (
    figure,
    figure_rows,
    markdown_table,
    replace_between,
    text_table,
    write_result,
)
from cad_edge_studies.choices.category_evidence import SEED, Category
from cad_edge_studies.open_category_study import RESULTS, made_with, study
from cad_edge_training.backbones import load_backbone
from cad_edge_training.input_size import choose_size, median_losses
from cad_edge_training.methods.patch_memory.config import Config
from cad_edge_training.methods.patch_memory.held_out import border_excess, standard_scale

RESULT = RESULTS / "choices.json"
README = REPOSITORY / "training/cad_edge_training/methods/patch_memory/README.md"
SIZES = (224, 288)
BANKS = ("7+10x256", "4x256")
FEW = (15, 20, 30, 60)
LARGER = 100  # good parts from which a category is thinned out
DRAWS = 200

Float64 = NDArray[np.float64]
Figures = Mapping[str, float]
"""Of one category under one setting, at the stated rate."""
Row = Mapping[str, float | int | str]


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    size: int | None = None
    """Input side in pixels; None: chosen per product, as --size auto does."""
    banks: tuple[str, ...] = BANKS
    statistics: tuple[int, ...] = (7, 10)
    top: float = 0.0
    """Share of the highest patches that is averaged; 0: the highest alone."""
    larger: bool = False
    """Whether the larger of local and global score is taken, where the default adds them."""


SETTINGS: Mapping[str, Setting] = {
    "default, --size auto": Setting(),
    "default, 224 px": Setting(size=224),
    "default, 288 px": Setting(size=288),
    "blocks 7+10 alone": Setting(banks=("7+10x256",)),
    "block 4 alone": Setting(banks=("4x256",)),
    "no channel statistics": Setting(statistics=()),
    "statistics of 4 and 7": Setting(statistics=(4, 7)),
    "mean of the top 1 %": Setting(top=0.01),
    "larger of both scores": Setting(larger=True),
    "larger of both scores, 224 px": Setting(size=224, larger=True),
}


@dataclass(frozen=True)
class Scores:
    """Image scores of one category under one setting."""

    held_out: Float64
    good: Float64
    defective: Float64


@study("choices", RESULT)
@click.option(
    "--setting",
    "names",
    multiple=True,
    type=click.Choice(list(SETTINGS)),
    default=list(SETTINGS),
    help="Only this setting; may be repeated.",
)
def main(
    data: Path | None, out: Path, tasks: tuple[str, ...], threads: int, names: tuple[str, ...]
) -> None:
    """Choose defaults by leaving out one category after another."""
    torch.set_num_threads(threads)
    stream = open_stream(data_folder(data), tasks)
    rate = stream.false_reject_rate
    scores = _measure(stream, names)
    figures = {
        name: {task: figures_of(one, rate) for task, one in of_tasks.items()}
        for name, of_tasks in scores.items()
    }
    taken = choose_settings(figures)
    few = thresholds_of_few(scores[names[0]])
    result = {
        "method": "patch_memory",
        "seed": SEED,
        "stated_false_reject_rate": rate,
        "settings": {
            name: {"setting": asdict(SETTINGS[name]), **tasks} for name, tasks in figures.items()
        },
        "chosen_on_the_others": taken,
        "few_good_parts": few,
        **made_with(),
    }
    write_result(out, result)
    of_few = [[figure(value) for value in row.values()] for row in few]
    tables = [table_of(figures, taken), (list(few[0]), of_few)]
    click.echo("\n\n".join(text_table(*table) for table in tables))
    if out == RESULT:
        text = "\n\n".join(markdown_table(*table) for table in tables)
        replace_between(README, "<!-- choices:begin -->", "<!-- choices:end -->", text)


def _measure(stream: Stream, names: Sequence[str]) -> dict[str, dict[str, Scores]]:
    """Scores by setting and task."""
    backbones = {size: load_backbone("efficientnet-lite0", size) for size in SIZES}
    scores: dict[str, dict[str, Scores]] = {name: {} for name in names}
    for task in stream.tasks:
        click.echo(task.name, err=True)
        own = choose_size(median_losses(task.samples().train, SIZES))
        rate = stream.false_reject_rate
        sized = {size: Category(task, backbone, rate) for size, backbone in backbones.items()}
        for name in names:
            setting = SETTINGS[name]
            scores[name][task.name] = score(setting, sized[setting.size or own])
    return scores


def score(setting: Setting, category: Category) -> Scores:
    """Image scores of held-out and test parts of a category."""
    options = {"memories": setting.banks, "statistics_blocks": setting.statistics}
    config = Config.model_validate(options)
    count = len(category.held_out)
    banks = [_highest(*category.distances(spec), count, setting.top) for spec in config.memories]
    parts = [banks, [category.lengths(config)]] if setting.statistics else [banks]
    scores = _joined(parts, setting, torch.ones(count, dtype=torch.bool))
    # As in learning: outliers have no say in the scales either.
    used = ~find_outliers(scores[:count].double().numpy())
    found = _joined(parts, setting, torch.from_numpy(used)).double().numpy()
    held_out, test, bad = found[:count], found[count:], category.defective
    return Scores(held_out, test[~bad], test[bad])


def _highest(distances: Tensor, grid: tuple[int, int], count: int, top: float) -> Tensor:
    """Highest patches in units of ``count`` held-out images, what the border adds taken off."""
    held_out = distances[:count]
    scale = standard_scale(held_out)
    shift = scale.shift + border_excess(held_out, grid)
    patches = (distances - shift) * scale.gain
    return patches.topk(max(1, round(patches.shape[1] * top)), dim=1).values.mean(dim=1)


def _joined(parts: Sequence[Sequence[Tensor]], setting: Setting, used: Tensor) -> Tensor:
    """Scaled means of each part, then the larger of them or their sum.

    Scales are those of the held-out images ``used`` (n,) bool, which come first.
    """

    def scaled(values: Tensor) -> Tensor:
        return standard_scale(values[: len(used)][used]).apply(values)

    means = torch.stack(
        [scaled(torch.stack([scaled(one) for one in part]).mean(dim=0)) for part in parts]
    )
    return means.amax(dim=0) if setting.larger else means.sum(dim=0)


def figures_of(scores: Scores, rate: float) -> Figures:
    """Figures of one category at the stated rate, thresholds as a device has them."""
    kept = sorted(scores.held_out[~find_outliers(scores.held_out)].tolist())
    threshold = decision_threshold(kept, rate)
    perfect = perfect_threshold(scores.good.tolist(), rate)
    labels = np.array([False] * len(scores.good) + [True] * len(scores.defective))
    auroc = image_auroc(labels, np.concatenate([scores.good, scores.defective]))
    return {
        "image_auroc": float("nan") if auroc is None else auroc,
        "detection_rate": float((scores.defective > threshold).mean()),
        "detection_rate_perfect": float((scores.defective > perfect).mean()),
        "false_reject_rate": float((scores.good > threshold).mean()),
    }


def choose_settings(figures: Mapping[str, Mapping[str, Figures]]) -> dict[str, str]:
    """Return, by category, the setting whose scores find most defects on all others."""

    def on_others(name: str, left_out: str) -> float:
        others = [one for task, one in figures[name].items() if task != left_out]
        return _means(others)["detection_rate_perfect"] if others else 0.0

    tasks = next(iter(figures.values()))
    return {task: max(figures, key=lambda name: on_others(name, task)) for task in tasks}


def thresholds_of_few(scores: Mapping[str, Scores]) -> list[Row]:
    """Measure what thresholds from few held-out scores do: means over categories and draws."""
    rows: list[Row] = []
    rng = np.random.default_rng(0)
    larger = [one for one in scores.values() if len(one.held_out) >= LARGER]
    rules = {"order statistic": conformal_threshold, "as decided": decision_threshold}
    for rate, count in product((0.02, 0.05), (*FEW, 0)):
        draws = [(one, _drawn(one.held_out, count, rng)) for one in larger for _ in range(DRAWS)]
        for name, rule in rules.items():
            limits = [(one, rule(drawn, rate)) for one, drawn in draws]
            rows.append(
                {
                    "stated": rate,
                    "good parts": count or "all",
                    "threshold": name,
                    "false rejects": float(np.mean([(one.good > x).mean() for one, x in limits])),
                    "found": float(np.mean([(one.defective > x).mean() for one, x in limits])),
                }
            )
    return rows


def _drawn(scores: Float64, count: int, rng: np.random.Generator) -> list[float]:
    """Draw some scores (all for a count of 0), ascending and without their outliers."""
    some = rng.choice(scores, min(count, len(scores)), replace=False) if count else scores
    return sorted(some[~find_outliers(some)].tolist())


def table_of(figures: Mapping[str, Mapping[str, Figures]], taken: Mapping[str, str]) -> Table:
    """Means of every setting, then those of the settings that others chose."""
    means = {name: _means(list(of_tasks.values())) for name, of_tasks in figures.items()}
    on_others = [figures[name][task] for task, name in taken.items()]
    means["chosen on the other categories"] = _means(on_others)
    columns = list(next(iter(means.values())))
    head = ["setting", *(name.replace("_", " ") for name in columns), "chosen for"]
    counts = [str(list(taken.values()).count(name)) for name in figures]
    rows = zip(figure_rows(columns, means), [*counts, ""], strict=True)
    return head, [[*row, count] for row, count in rows]


def _means(figures: Sequence[Figures]) -> Figures:
    return {name: float(np.mean([one[name] for one in figures])) for name in figures[0]}


if __name__ == "__main__":
    main()
