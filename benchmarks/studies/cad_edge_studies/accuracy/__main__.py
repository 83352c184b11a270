"""Accuracy on the nine open categories, from learning to verdict, as a user runs it.

    python -m cad_edge_studies.accuracy [--data DIR] [--out FILE] [--task NAME] [--seed N]
        [--size PIXELS|auto] [--method NAME]

Learns and exports with `cad-edge`, then measures with the runtime alone: every figure of `cad-edge
evaluate`, defects found and good parts rejected before all others; AUROC with the task given,
forgetting stage by stage in both layouts, products left out one by one, bytes and seconds per task.
With several seeds the first is measured in full, and of the others the means are kept.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cad_edge.data.stream import Stream
from cad_edge.store.artifact import read_record
from cad_edge_benchmarks.evaluate.command import evaluation_result
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation, mean_of
from cad_edge_benchmarks.instruments.metrics import mean_defined
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, data_folder, open_stream
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_studies.accuracy.continual_run import ContinualRun, Stages, median_slope
from cad_edge_studies.accuracy.report import print_report, update_front_page, update_readme
from cad_edge_studies.accuracy.targets import accuracy_targets
from cad_edge_studies.learned_stream import LearnedStream, learn_stream
from cad_edge_studies.open_category_study import RESULTS, study

RESULT = RESULTS / "patch-memory-open.json"
README = REPOSITORY / "training" / "cad_edge_training" / "methods" / "patch_memory" / "README.md"

WITHOUT_MEAN = ("input_side", "images_train")
"""Figures of a task of which no mean is taken."""


@study("accuracy", RESULT)
@click.option("--readme", type=click.Path(path_type=Path), help="Page whose table to update.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True)
@click.option("--method", help="Passed on to cad-edge train.")
@click.option("--set", "settings", multiple=True, help="Passed on to cad-edge train.")
@click.option("--size", help="Passed on to cad-edge train: pixels, or auto.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep artifacts and bundles there.")
def main(
    data: Path | None,
    out: Path,
    tasks: tuple[str, ...],
    threads: int,
    readme: Path | None,
    seeds: tuple[int, ...],
    method: str | None,
    settings: tuple[str, ...],
    size: str | None,
    work: Path | None,
) -> None:
    """Measure the default configuration on real products."""
    options = [word for setting in settings for word in ("--set", setting)]
    options += [] if size is None else ["--size", size]
    options += [] if method is None else ["--method", method]
    stream = open_stream(data_folder(data), tasks)
    with tempfile.TemporaryDirectory() as temporary:
        place = work or Path(temporary)
        result: dict[str, Any] = {}
        for seed in seeds:
            click.echo(f"learning with seed {seed}")
            learned = learn_stream(stream, place / f"seed-{seed}", seed, options, threads)
            if not result:
                result = measure(learned, seed)
                result["seeds"] = {str(seed): result["mean"]}
            else:
                learned.export(learned.artifacts)
                result["seeds"][str(seed)] = mean_of(learned.evaluate())
    result["must_reach"] = [target.record() for target in accuracy_targets(result)]
    write_result(out, result)
    update_readme(readme or (README if out == RESULT else None), result)
    if out == RESULT:
        update_front_page(REPOSITORY / "README.md", result)
    print_report(result)


def measure(learned: LearnedStream, seed: int) -> dict[str, Any]:
    """Measure everything about one learned stream; the result as it is written."""
    run = ContinualRun(learned)
    click.echo("adding one task after another, shared layout")
    shared = run.run_stages()
    click.echo("the same in the fused layout")
    fused = run.compare_fused()
    evaluated = learned.evaluate()
    click.echo("leaving out one product after another")
    left_out = run.leave_out()
    further = {
        path.name: _further_figures(path, shared, left_out.get(path.name, {}))
        for path in learned.artifacts
    }
    record = learned.record
    return {
        "stream": learned.stream.name,
        "seed": seed,
        "method": record.method,
        "backbone": record.backbone.id,
        "hyperparameters": record.hyperparameters,
        **learned.conditions(),
        **_evaluation(evaluated, learned.stream, further),
        "forgetting": {"shared": shared.forgetting, "fused": fused},
        "routed_matrix": shared.matrix,
        "ram_bytes": shared.ram_bytes,
        "ram_bytes_per_further_task": median_slope(shared.ram_bytes),
        "certificates": run.certificates(),
    }


def _evaluation(
    evaluated: Mapping[str, TaskEvaluation],
    stream: Stream,
    further: Mapping[str, Mapping[str, float | None]],
) -> dict[str, object]:
    """Lay out as `cad-edge evaluate` does, with further figures and means without depth."""
    found: dict[str, Any] = evaluation_result(evaluated)
    figures, means = found.pop("tasks"), found.pop("mean")
    averaged = [name for name in next(iter(further.values())) if name not in WITHOUT_MEAN]
    means |= {name: mean_defined([task[name] for task in further.values()]) for name in averaged}
    with_depth = sorted(
        task.name for task in stream.tasks if any(item.depth for item in task.samples().test)
    )
    rgb = {name: task for name, task in evaluated.items() if name not in with_depth}
    return {
        **found,
        "mean": means,
        "with_depth": with_depth,
        "mean_rgb": mean_of(rgb),
        "tasks": {
            name: figures[name] | figures_of_task for name, figures_of_task in further.items()
        },
    }


def _further_figures(
    artifact: Path, stages: Stages, left_out: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Gather what `cad-edge evaluate` does not measure of a task."""
    record = read_record(artifact)
    return {
        "image_auroc_task_given": stages.given_auroc[artifact.name],
        "unknown_product_auroc": left_out.get("unknown_product_auroc"),
        "unknown_product_rejected": left_out.get("unknown_product_rejected"),
        "seconds": record.provenance.seconds,
        "input_side": record.recipe.width,
        "images_train": record.provenance.images,
        "disk_bytes": stages.disk_bytes[artifact.name],
    }


if __name__ == "__main__":
    main()
