"""Compare learners of questions on the open categories.

    python -m cad_edge_studies.cl_anomaly_comparison [--data DIR] [--work DIR] [--orders 3]

Every learner learns the categories in several orders; after every category it is asked about the
test images of all so far. Yes or No is the sign of the score. Writes docs/results.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from cad_edge.data.product import LabelledImage
from cad_edge.data.stream import StreamTask
from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.instruments.machine import describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, data_folder
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_studies.cl_anomaly_comparison.evaluation_images import show
from cad_edge_studies.cl_anomaly_comparison.figures import Run, figures_of
from cad_edge_studies.cl_anomaly_comparison.learners import (
    LEARNERS,
    Learner,
    Setting,
    run_learner,
)
from cad_edge_studies.cl_anomaly_comparison.report import (
    Summary,
    comparison_table,
    question_targets,
    summary,
)
from cad_edge_studies.cl_anomaly_comparison.task_sequence import (
    CATEGORIES,
    hold_back,
    orders,
    tasks_of,
)

RESULT = REPOSITORY / "docs" / "results" / "cl-anomaly-open.json"


@click.command("questions")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the open categories.")
@click.option("--task", "names", multiple=True, default=CATEGORIES, help="Only these categories.")
@click.option("--learner", "chosen", multiple=True, help="Only these learners.")
@click.option("--backbone", default="llava-small", show_default=True)
@click.option("--orders", "count", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As for train.")
@click.option(
    "--held-back",
    is_flag=True,
    help="Ask about a fifth of the training images, which is not learned from: to choose options.",
)
@click.option("--work", type=click.Path(path_type=Path), help="Keep there what was learned.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File of the result [default: in docs/results; with --held-back none].",
)
def main(
    data: Path | None,
    names: tuple[str, ...],
    chosen: tuple[str, ...],
    backbone: str,
    count: int,
    seed: int,
    settings: tuple[str, ...],
    held_back: bool,
    work: Path | None,
    out: Path | None,
) -> None:
    """Measure what learners of questions keep, task after task."""
    try:
        with tempfile.TemporaryDirectory() as temporary:
            place = (work or Path(temporary)).absolute()
            tasks = tasks_of(data_folder(data), names, seed)
            asked = {name: task.images().test for name, task in tasks.items()}
            if held_back:
                tasks, asked = hold_back(tasks, place / "held back", seed)
            setting = _setting(place, backbone, settings, tasks, asked, seed)
            learners = [one for one in LEARNERS if not chosen or one.name in chosen]
            runs, images = _run(learners, orders(names, count, seed), setting)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    found = summary(runs)
    targets = question_targets(found)
    if out is not None or not held_back:
        content = _content(setting, found, images, targets)
        write_result(out or RESULT, content)
    click.echo(f"{comparison_table(found)}\n\n{targets_table(targets)}")


def _setting(
    place: Path,
    backbone: str,
    settings: tuple[str, ...],
    tasks: Mapping[str, StreamTask],
    asked: Mapping[str, Sequence[LabelledImage]],
    seed: int,
) -> Setting:
    from cad_edge_training.backbones import load_backbone
    from cad_edge_training.commands import read_settings

    base, options = load_backbone(backbone), read_settings(settings)
    return Setting(place, base, backbone, options, tasks, asked, seed)


def _content(
    setting: Setting, found: Summary, images: dict[str, dict[str, int]], targets: list[Target]
) -> dict[str, object]:
    return {
        "backbone": setting.name,
        "options": dict(setting.options),
        "seed": setting.seed,
        "tasks": images,
        "machine": describe_machine(),
        "versions": versions(),
        "learners": found,
        "must_reach": [target.record() for target in targets],
    }


def _run(
    learners: list[Learner], courses: list[tuple[str, ...]], setting: Setting
) -> tuple[dict[str, list[tuple[Run, dict[str, float | None]]]], dict[str, dict[str, int]]]:
    """Return every learner's runs with their figures, and how many images each task has."""
    tests = {name: show(setting.backbone, items) for name, items in setting.asked.items()}
    truth = {name: test.anomalous for name, test in tests.items()}
    runs: dict[str, list[tuple[Run, dict[str, float | None]]]] = {}
    for order in courses:
        for learner in learners:
            if learner.at_once and learner.name in runs:
                continue  # it knows no order, and one run is one
            click.echo(f"{learner.name}: {', '.join(order)}", err=True)
            run = run_learner(learner, order, setting, tests)
            runs.setdefault(learner.name, []).append((run, figures_of(run, truth)))
    images = {name: _counts(setting, name, marks) for name, marks in truth.items()}
    return runs, images


def _counts(setting: Setting, name: str, anomalous: npt.NDArray[np.bool_]) -> dict[str, int]:
    product = setting.tasks[name].images()
    return {
        "learned_good": len(product.train),
        "learned_defective": len(product.defective),
        "test_good": int((~anomalous).sum()),
        "test_defective": int(anomalous.sum()),
    }


if __name__ == "__main__":
    main()
