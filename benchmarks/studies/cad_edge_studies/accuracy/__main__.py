"""Accuracy on the nine open categories, from learning to verdict, as a user runs it.

    python -m cad_edge_studies.accuracy [--data DIR] [--out FILE] [--task NAME] [--seed N]
        [--size PIXELS|auto] [--method NAME]

Learns and exports with `cad-edge`, then measures with the runtime alone: every figure of `cad-edge
evaluate`, defects found and good parts rejected before all others; AUROC with the task given,
forgetting stage by stage in both layouts, products left out one by one, bytes and seconds per task.
With several seeds the first is measured in full, and of the others the means are kept.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cad_edge.data.stream import Stream, read_stream
from cad_edge.errors import CadEdgeError
from cad_edge.store.artifact import list_artifacts, read_record
from cad_edge_benchmarks.instruments.command_runner import export, learn
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation, mean_of
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.metrics import mean_defined
from cad_edge_benchmarks.instruments.open_data import REPOSITORY, data_folder, write_stream
from cad_edge_benchmarks.instruments.verdicts import pooled
from cad_edge_benchmarks.reporting.tables import write_result
from cad_edge_benchmarks.reporting.verdict_sentences import beside, headline
from cad_edge_studies.accuracy.continual_run import Curriculum, Learned, Stages, evaluate_bundle
from cad_edge_studies.accuracy.report import print_report, update_front_page, update_readme
from cad_edge_studies.accuracy.targets import accuracy_targets
from cad_edge_studies.accuracy.unknown_product import LeftOut

RESULT = REPOSITORY / "docs" / "results" / "patch-memory-open.json"
README = REPOSITORY / "training" / "cad_edge_training" / "methods" / "patch_memory" / "README.md"

FURTHER = (
    "image_auroc_task_given",
    "unknown_product_auroc",
    "unknown_product_rejected",
    "seconds",
    "disk_bytes",
)
"""Figures of a task besides those of `evaluation`, of which a mean is taken."""

Figures = dict[str, Any]
"""Figures of one task by name: numbers, None where undefined, an interval as two."""


@click.command("accuracy")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the open categories.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
@click.option("--readme", type=click.Path(path_type=Path), help="Page whose table to update.")
@click.option("--task", "tasks", multiple=True, help="Only this category; may be repeated.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True)
@click.option("--method", help="Passed on to cad-edge train.")
@click.option("--set", "settings", multiple=True, help="Passed on to cad-edge train.")
@click.option("--size", help="Passed on to cad-edge train: pixels, or auto.")
@click.option("--threads", type=int, default=2, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep artifacts and bundles there.")
def main(
    data: Path | None,
    out: Path,
    readme: Path | None,
    tasks: tuple[str, ...],
    seeds: tuple[int, ...],
    method: str | None,
    settings: tuple[str, ...],
    size: str | None,
    threads: int,
    work: Path | None,
) -> None:
    """Measure the default configuration on real products."""
    options = [word for setting in settings for word in ("--set", setting)]
    options += [] if size is None else ["--size", size]
    options += [] if method is None else ["--method", method]
    try:
        folder = data_folder(data)
        with tempfile.TemporaryDirectory() as temporary:
            place = work or Path(temporary)
            place.mkdir(parents=True, exist_ok=True)
            stream_file = place / "stream.json"
            write_stream(stream_file, folder, tasks)
            first = _learned(stream_file, place / f"seed-{seeds[0]}", seeds[0], options)
            result = measure(first, seeds[0], threads)
            result["seeds"] = {
                str(seeds[0]): result["mean"],
                **{
                    str(seed): _means(stream_file, place / f"seed-{seed}", seed, options, threads)
                    for seed in seeds[1:]
                },
            }
            result["must_reach"] = [target.record() for target in accuracy_targets(result)]
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    write_result(out, result)
    update_readme(readme or (README if out == RESULT else None), result)
    if out == RESULT:
        update_front_page(REPOSITORY / "README.md", result)
    print_report(result)


def _learned(stream_file: Path, place: Path, seed: int, options: Sequence[str]) -> Learned:
    """Learn what ``place`` lacks of the stream."""
    click.echo(f"learning with seed {seed}")
    learn(stream_file, place / "artifacts", seed, options)
    return Learned(read_stream(stream_file), list_artifacts(place / "artifacts"), place)


def _means(
    stream_file: Path, place: Path, seed: int, options: Sequence[str], threads: int
) -> dict[str, float | None]:
    """Mean figures of a further seed."""
    learned = _learned(stream_file, place, seed, options)
    bundle = place / "bundle-shared"
    export(learned.artifacts, bundle, place / "staging")
    return mean_of(evaluate_bundle(bundle, learned.stream, threads))


def measure(learned: Learned, seed: int, threads: int) -> dict[str, object]:
    """Measure everything about one learned stream; the result as it is written."""
    curriculum = Curriculum(learned, threads)
    click.echo("adding one task after another, shared layout")
    shared = curriculum.run_stages()
    click.echo("the same in the fused layout")
    fused = curriculum.compare_fused()
    evaluated = evaluate_bundle(curriculum.bundle("shared"), learned.stream, threads)
    click.echo("leaving out one product after another")
    left_out = curriculum.leave_out()
    tasks = {
        path.name: _task_figures(path, evaluated[path.name], shared, left_out.get(path.name))
        for path in learned.artifacts
    }
    return {
        **_conditions(learned, seed, threads),
        **_summary(evaluated, learned.stream, tasks),
        "tasks": tasks,
        "forgetting": {"shared": asdict(shared.forgetting), "fused": asdict(fused)},
        "routed_matrix": asdict(shared.matrix),
        "ram_bytes": shared.ram_bytes,
        "ram_bytes_per_further_task": shared.ram_bytes_per_further_task,
        "certificates": curriculum.certificates(),
    }


def _summary(
    evaluated: Mapping[str, TaskEvaluation], stream: Stream, tasks: Mapping[str, Figures]
) -> dict[str, object]:
    """Sentences, figures over all images, means over tasks and over those without depth."""
    every = list(evaluated.values())
    further = {name: mean_defined([task[name] for task in tasks.values()]) for name in FURTHER}
    with_depth = {
        task.name
        for task in stream.tasks
        if any(item.depth is not None for item in task.samples().test)
    }
    return {
        "headline": headline(every),
        "beside": beside(every),
        "all_parts": asdict(pooled(every)),
        "mean": {**mean_of(evaluated), **further},
        "with_depth": sorted(with_depth),
        "mean_rgb": mean_of(
            {name: task for name, task in evaluated.items() if name not in with_depth}
        ),
    }


def _task_figures(
    artifact: Path, evaluation: TaskEvaluation, stages: Stages, left_out: LeftOut | None
) -> Figures:
    record = read_record(artifact)
    provenance = record.provenance
    return {
        **asdict(evaluation),
        "image_auroc_task_given": stages.given_auroc[artifact.name],
        "unknown_product_auroc": left_out.auroc if left_out else None,
        "unknown_product_rejected": left_out.rejected if left_out else None,
        "seconds": provenance.seconds,
        "input_side": record.recipe.width,
        "images_train": provenance.images,
        "disk_bytes": stages.disk_bytes[artifact.name],
    }


def _conditions(learned: Learned, seed: int, threads: int) -> dict[str, object]:
    """With what and on what the figures were made."""
    record = read_record(learned.artifacts[0])
    return {
        "stream": learned.stream.name,
        "seed": seed,
        "method": record.method,
        "backbone": record.backbone.id,
        "hyperparameters": record.hyperparameters,
        "stated_false_reject_rate": learned.stream.false_reject_rate,
        "commit": commit_of(REPOSITORY),
        "machine": describe_machine(),
        "threads": threads,
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
