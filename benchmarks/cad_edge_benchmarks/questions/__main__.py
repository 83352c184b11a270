"""Compare learners of questions on the open categories.

    python -m cad_edge_benchmarks.questions [--data DIR] [--work DIR] [--orders 3]

Every learner learns the categories in several orders; after every category it is asked about the
test images of all so far. Yes or No is the sign of the score. Writes docs/results.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.machine import describe_machine, versions
from cad_edge_benchmarks.open_data import REPOSITORY, data_folder
from cad_edge_benchmarks.questions.course import CATEGORIES, orders, tasks_of
from cad_edge_benchmarks.questions.figures import Run, figures_of
from cad_edge_benchmarks.questions.learners import (
    LEARNERS,
    Learner,
    Setting,
    read_tests,
    run_learner,
)
from cad_edge_benchmarks.questions.report import comparison_table, question_targets, summary
from cad_edge_benchmarks.tables import write_result
from cad_edge_benchmarks.targets import targets_table

RESULT = REPOSITORY / "docs" / "results" / "cl-anomaly-open.json"


@click.command("questions")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the open categories.")
@click.option("--task", "names", multiple=True, default=CATEGORIES, help="Only these categories.")
@click.option("--learner", "chosen", multiple=True, help="Only these learners.")
@click.option("--backbone", default="llava-small", show_default=True)
@click.option("--orders", "count", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As for train.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep there what was learned.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
def main(
    data: Path | None,
    names: tuple[str, ...],
    chosen: tuple[str, ...],
    backbone: str,
    count: int,
    seed: int,
    settings: tuple[str, ...],
    work: Path | None,
    out: Path,
) -> None:
    """Measure what learners of questions keep, task after task."""
    from cad_edge_training.backbones import load_backbone
    from cad_edge_training.commands import read_settings

    try:
        with tempfile.TemporaryDirectory() as temporary:
            setting = Setting(
                place=(work or Path(temporary)).absolute(),
                backbone=load_backbone(backbone),
                name=backbone,
                options=read_settings(settings),
                tasks=tasks_of(data_folder(data), names, seed),
                seed=seed,
            )
            learners = [one for one in LEARNERS if not chosen or one.name in chosen]
            runs, images = _run(learners, orders(names, count, seed), setting)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    found = summary(runs)
    targets = question_targets(found)
    write_result(
        out,
        {
            "backbone": backbone,
            "options": dict(setting.options),
            "seed": seed,
            "tasks": images,
            "machine": describe_machine(),
            "versions": versions(),
            "learners": found,
            "must_reach": [target.record() for target in targets],
        },
    )
    click.echo(f"{comparison_table(found)}\n\n{targets_table(targets)}")


def _run(
    learners: list[Learner], courses: list[tuple[str, ...]], setting: Setting
) -> tuple[dict[str, list[tuple[Run, dict[str, float | None]]]], dict[str, dict[str, int]]]:
    """Return every learner's runs with their figures, and how many images each task has."""
    tests = read_tests(setting)
    truth = {name: test.anomalous for name, test in tests.items()}
    runs: dict[str, list[tuple[Run, dict[str, float | None]]]] = {}
    for order in courses:
        for learner in learners:
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
