"""How the defaults of the patch memory are chosen: by the categories they are not reported on.

    python -m cad_edge_studies.choices [--data DIR] [--out FILE]

Every setting is learned on every category, the product given, and judged by its test parts. For
each category the setting whose scores find most defects on the *other* categories is taken, the
threshold placed by their good test parts so that no calibration comes between; its figures on this
one are reported: the means of the last row are of categories without a say. A second table thins
out the held-out scores of the larger categories and shows what thresholds from few good parts do:
the order statistic, and the one that a device decides with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cad_edge.calibration import conformal_threshold, decision_threshold, find_outliers
from cad_edge.data.stream import read_stream
from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.metrics import image_auroc
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, data_folder, write_stream
from cad_edge_benchmarks.instruments.verdicts import perfect_threshold
from cad_edge_benchmarks.reporting.tables import (
    figure_rows,
    markdown_table,
    replace_between,
    text_table,
    write_result,
)
from cad_edge_studies.choices.category_evidence import Categories, Category, Distances
from cad_edge_training.backbones import load_backbone
from cad_edge_training.input_size import choose_size, median_losses
from cad_edge_training.methods.patch_memory.config import Config
from cad_edge_training.methods.patch_memory.held_out import border_excess, standard_scale

RESULT = REPOSITORY / "docs" / "results" / "choices.json"
README = REPOSITORY / "training/cad_edge_training/methods/patch_memory/README.md"
SIZES = (224, 288)
BANKS = ("7+10x256", "4x256")
FEW = (15, 20, 30, 60)
LARGER = 100  # good parts from which a category is thinned out
DRAWS = 200
Float64 = NDArray[np.float64]


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


@dataclass(frozen=True)
class Figures:
    """What they are worth at the stated rate."""

    image_auroc: float
    detection_rate: float
    detection_rate_perfect: float
    false_reject_rate: float


@click.command("choices")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the open categories.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
@click.option("--task", "tasks", multiple=True, help="Only this category; may be repeated.")
@click.option(
    "--setting",
    "names",
    multiple=True,
    type=click.Choice(list(SETTINGS)),
    default=list(SETTINGS),
    help="Only this setting; may be repeated.",
)
@click.option("--threads", type=int, default=2, show_default=True)
def main(
    data: Path | None, out: Path, tasks: tuple[str, ...], names: tuple[str, ...], threads: int
) -> None:
    """Choose defaults by leaving out one category after another."""
    torch.set_num_threads(threads)
    try:
        scores, rate = _measure(data_folder(data), out, tasks, names)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    figures = {
        name: {task: figures_of(one, rate) for task, one in of_tasks.items()}
        for name, of_tasks in scores.items()
    }
    taken = chosen(figures)
    few = thinned(scores[names[0]])
    write_result(out, _result(figures, taken, few, rate))
    tables = [table_of(figures, taken), _few_table(few)]
    click.echo("\n\n".join(text_table(*table) for table in tables))
    if out == RESULT:
        text = "\n\n".join(markdown_table(*table) for table in tables)
        replace_between(README, "<!-- choices:begin -->", "<!-- choices:end -->", text)


def _measure(
    folder: Path, out: Path, tasks: Sequence[str], names: Sequence[str]
) -> tuple[dict[str, dict[str, Scores]], float]:
    """Scores by setting and task, and the stated rate."""
    stream_file = out.with_suffix(".stream.json")
    write_stream(stream_file, folder, tasks)
    stream = read_stream(stream_file)
    stream_file.unlink()
    backbones = {size: load_backbone("efficientnet-lite0", size) for size in SIZES}
    scores: dict[str, dict[str, Scores]] = {name: {} for name in names}
    for task in stream.tasks:
        click.echo(task.name, err=True)
        sized: Categories = {
            (task.name, size): Category(task, backbones[size], stream.false_reject_rate)
            for size in SIZES
        }
        own = choose_size(median_losses(task.samples().train, SIZES))
        for name in names:
            setting = SETTINGS[name]
            scores[name][task.name] = score(setting, sized[task.name, setting.size or own])
    return scores, stream.false_reject_rate


def score(setting: Setting, category: Category) -> Scores:
    """Image scores of held-out and test parts of a category."""
    config = Config.model_validate(
        {"memories": setting.banks, "statistics_blocks": setting.statistics}
    )
    banks = [_highest(category.distances(spec), setting.top) for spec in config.memories]
    parts = [banks]
    if setting.statistics:
        lengths = category.lengths(config)
        parts.append([(lengths.held_out, lengths.test)])
    every = np.ones(len(banks[0][0]), dtype=np.bool_)
    held_out, _ = _joined(parts, setting, every)
    # As in learning: outliers have no say in the scales either.
    held_out, test = _joined(parts, setting, ~find_outliers(held_out))
    bad = category.defective
    return Scores(held_out, test[~bad], test[bad])


Pair = tuple[Tensor, Tensor]
"""Of held-out and of test parts, (n,) and (m,)."""


def _highest(distances: Distances, top: float) -> Pair:
    """Highest patches in units of held-out patches, what the border adds taken off."""
    scale = standard_scale(distances.held_out)
    shift = scale.shift + border_excess(distances.held_out, distances.grid)
    count = max(1, round(distances.held_out.shape[1] * top))
    held_out, test = (
        ((values - shift) * scale.gain).topk(count, dim=1).values.mean(dim=1)
        for values in (distances.held_out, distances.test)
    )
    return held_out, test


def _joined(
    parts: Sequence[Sequence[Pair]], setting: Setting, used: NDArray[np.bool_]
) -> tuple[Float64, Float64]:
    """Scaled means of each part, then the larger of them or their sum."""
    chosen = torch.from_numpy(used)
    join: Callable[[Tensor], Tensor] = (
        (lambda scores: scores.amax(dim=0))
        if setting.larger
        else (lambda scores: scores.sum(dim=0))
    )
    scaled = [_scaled(_mean([_scaled(pair, chosen) for pair in part]), chosen) for part in parts]
    held_out, test = (join(torch.stack([pair[side] for pair in scaled])) for side in (0, 1))
    return held_out.double().numpy(), test.double().numpy()


def _mean(pairs: Sequence[Pair]) -> Pair:
    held_out, test = (torch.stack([pair[side] for pair in pairs]).mean(dim=0) for side in (0, 1))
    return held_out, test


def _scaled(pair: Pair, used: Tensor) -> Pair:
    scale = standard_scale(pair[0][used])
    return scale.apply(pair[0]), scale.apply(pair[1])


def figures_of(scores: Scores, rate: float) -> Figures:
    """Figures of one category at the stated rate, thresholds as a device has them."""
    kept = np.sort(scores.held_out[~find_outliers(scores.held_out)]).tolist()
    threshold = decision_threshold(kept, rate)
    perfect = perfect_threshold(scores.good.tolist(), rate)
    labels = np.array([False] * len(scores.good) + [True] * len(scores.defective))
    auroc = image_auroc(labels, np.concatenate([scores.good, scores.defective]))
    return Figures(
        float("nan") if auroc is None else auroc,
        float((scores.defective > threshold).mean()),
        float((scores.defective > perfect).mean()),
        float((scores.good > threshold).mean()),
    )


def chosen(figures: Mapping[str, Mapping[str, Figures]]) -> dict[str, str]:
    """Return, by category, the setting whose scores find most defects on all others."""
    tasks = list(next(iter(figures.values())))

    def on_others(name: str, left_out: str) -> float:
        others = [
            one.detection_rate_perfect for task, one in figures[name].items() if task != left_out
        ]
        return float(np.mean(others)) if others else 0.0

    return {task: max(figures, key=lambda name: on_others(name, task)) for task in tasks}


def thinned(scores: Mapping[str, Scores]) -> list[dict[str, float | int | str]]:
    """Measure what thresholds from few held-out scores do: means over categories and draws."""
    rows: list[dict[str, float | int | str]] = []
    rng = np.random.default_rng(0)
    larger = [one for one in scores.values() if len(one.held_out) >= LARGER]
    rules = {"order statistic": conformal_threshold, "as decided": decision_threshold}
    for rate in (0.02, 0.05):
        for count in (*FEW, 0):
            draws = [_drawn(one.held_out, count, rng) for one in larger for _ in range(DRAWS)]
            tests = [one for one in larger for _ in range(DRAWS)]
            for name, rule in rules.items():
                limits = [rule(draw, rate) for draw in draws]
                pairs = list(zip(tests, limits, strict=True))
                rows.append(
                    {
                        "stated": rate,
                        "good parts": count or "all",
                        "threshold": name,
                        "false rejects": float(np.mean([(t.good > x).mean() for t, x in pairs])),
                        "found": float(np.mean([(t.defective > x).mean() for t, x in pairs])),
                    }
                )
    return rows


def _drawn(scores: Float64, count: int, rng: np.random.Generator) -> list[float]:
    """Draw some scores (all for a count of 0), ascending and without their outliers."""
    some = scores if count == 0 else rng.choice(scores, min(count, len(scores)), replace=False)
    return sorted(float(value) for value in some[~find_outliers(some)])


def table_of(
    figures: Mapping[str, Mapping[str, Figures]], taken: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    """Means of every setting, then those of the settings that others chose."""
    means = {name: _means(list(of_tasks.values())) for name, of_tasks in figures.items()}
    means["chosen on the other categories"] = _means(
        [figures[name][task] for task, name in taken.items()]
    )
    columns = list(Figures.__dataclass_fields__)
    head = ["setting", *(name.replace("_", " ") for name in columns), "chosen for"]
    rows = figure_rows(columns, means)
    counts = [str(list(taken.values()).count(name)) for name in figures]
    return head, [[*row, count] for row, count in zip(rows, [*counts, ""], strict=True)]


def _means(figures: Sequence[Figures]) -> dict[str, float]:
    return {
        name: float(np.mean([getattr(one, name) for one in figures]))
        for name in Figures.__dataclass_fields__
    }


def _few_table(
    rows: Sequence[Mapping[str, float | int | str]],
) -> tuple[list[str], list[list[str]]]:
    head = list(rows[0])
    return head, [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()]
        for row in rows
    ]


def _result(
    figures: Mapping[str, Mapping[str, Figures]],
    taken: Mapping[str, str],
    few: Sequence[Mapping[str, float | int | str]],
    rate: float,
) -> dict[str, object]:
    return {
        "method": "patch_memory",
        "seed": 0,
        "stated_false_reject_rate": rate,
        "settings": {
            name: {"setting": asdict(SETTINGS[name]), **{t: asdict(f) for t, f in tasks.items()}}
            for name, tasks in figures.items()
        },
        "chosen_on_the_others": dict(taken),
        "few_good_parts": list(few),
        "commit": commit_of(REPOSITORY),
        "machine": describe_machine(),
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
