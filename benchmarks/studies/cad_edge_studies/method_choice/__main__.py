"""A line of several methods, each product by the one that its good parts chose, beside each alone.

    python -m cad_edge_studies.method_choice [--data DIR] [--out FILE] [--task NAME]
        [--method NAME]... [--seed N] [--size PIXELS|auto] [--work DIR]

Every method learns all categories with `cad-edge train`. Held-out good parts with synthetic defects
choose a method for each category, as `cad-edge advise` does it. One bundle is exported of the
artifacts that were chosen, and evaluated beside a bundle of each method alone, all routed.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from cad_edge.data.stream import Stream
from cad_edge_benchmarks.advise.method_comparison import ComparisonRequest, compare_methods
from cad_edge_benchmarks.advise.method_schema import MethodsAdvice
from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation, mean_of
from cad_edge_benchmarks.instruments.metrics import mean_defined
from cad_edge_benchmarks.instruments.open_data import data_folder, open_stream
from cad_edge_benchmarks.reporting.tables import figure, text_table, write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_studies.learned_stream import LearnedStream, evaluate_bundle, learn_stream
from cad_edge_studies.open_category_study import RESULTS, made_with, study
from cad_edge_training.backbones import DEFAULT_BACKBONE

RESULT = RESULTS / "method-choice.json"
CHOSEN = "chosen"
"""The line in which every product has the method that was chosen for it."""
FIGURES = ("detection_rate", "false_reject_rate", "image_auroc", "pixel_auroc")

Evaluated = Mapping[str, Mapping[str, TaskEvaluation]]
"""By line, `CHOSEN` or the name of a method, and by product."""


@study("method_choice", RESULT)
@click.option("--method", "methods", multiple=True, default=("patch_memory", "padim"))
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--size", help="Passed on to cad-edge train: pixels, or auto.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep artifacts and bundles there.")
def main(
    data: Path | None,
    out: Path,
    tasks: tuple[str, ...],
    threads: int,
    methods: tuple[str, ...],
    seed: int,
    size: str | None,
    work: Path | None,
) -> None:
    """Compare the line that good parts chose with each method alone."""
    stream = open_stream(data_folder(data), tasks)
    sized = [] if size is None else ["--size", size]
    with tempfile.TemporaryDirectory() as temporary:
        place = work or Path(temporary)
        request = ComparisonRequest(
            data_folder(data), stream, methods, DEFAULT_BACKBONE, seed, threads
        )
        advice = compare_methods(request, place / "advice", lambda doing: click.echo(doing))
        learned = {}
        for method in methods:
            click.echo(f"learning all by {method}")
            words = ["--method", method, *sized]
            learned[method] = learn_stream(stream, place / method, seed, words, threads)
        evaluated = evaluate_lines(learned, advice, place, stream)
    result = lay_out(evaluated, advice) | {"size": size, **made_with(threads)}
    targets = must_reach(evaluated)
    write_result(out, result | {"must_reach": [target.record() for target in targets]})
    click.echo(table(evaluated, advice))
    click.echo(targets_table(targets))


def evaluate_lines(
    learned: Mapping[str, LearnedStream], advice: MethodsAdvice, place: Path, stream: Stream
) -> dict[str, dict[str, TaskEvaluation]]:
    """Export and evaluate a line of every method alone, and the one of what was chosen."""
    lines = {method: list(one.artifacts) for method, one in learned.items()}
    folders = {
        method: {path.name: path for path in artifacts} for method, artifacts in lines.items()
    }
    lines[CHOSEN] = [folders[one.taken][one.name] for one in advice.products]
    found = {}
    for name, artifacts in lines.items():
        click.echo(f"exporting and evaluating: {name}")
        any_of_them = next(iter(learned.values()))
        bundle = any_of_them.export(artifacts, bundle=place / "bundles" / name)
        found[name] = evaluate_bundle(bundle, stream, any_of_them.threads)
    return found


def lay_out(evaluated: Evaluated, advice: MethodsAdvice) -> dict[str, object]:
    """Write down what was chosen and why, and the figures of every line."""
    return {
        "methods": advice.asked.methods,
        "backbone": advice.asked.backbone,
        "seed": advice.asked.seed,
        "stated_false_reject_rate": advice.stated_false_reject_rate,
        "products": {
            one.name: one.model_dump(mode="json", exclude={"name", "path"})
            | {"evaluated": {line: _figures(found[one.name]) for line, found in evaluated.items()}}
            for one in advice.products
        },
        "mean": {
            line: {name: value for name, value in mean_of(found).items() if name in FIGURES}
            for line, found in evaluated.items()
        },
        "mean_of_better_method": better_of_each(evaluated),
    }


def _figures(found: TaskEvaluation) -> dict[str, float | None]:
    return {name: getattr(found, name) for name in FIGURES}


def better_of_each(evaluated: Evaluated) -> float | None:
    """Mean image AUROC of the better method of every product, which no rule can pass."""
    alone = [found for line, found in evaluated.items() if line != CHOSEN]
    best = []
    for name in alone[0]:
        values = [found[name].image_auroc for found in alone]
        best.append(max((value for value in values if value is not None), default=None))
    return mean_defined(best)


def must_reach(evaluated: Evaluated) -> list[Target]:
    """Better than either method alone, and well enough."""
    means = {line: mean_of(found)["image_auroc"] for line, found in evaluated.items()}
    chosen = means.pop(CHOSEN)
    best = max((value for value in means.values() if value is not None), default=0.0)
    ahead = None if chosen is None else chosen - best
    return [
        Target("mean image AUROC, line of both", "at least", 0.955, chosen),
        Target("that less the better method alone", "at least", 0.001, ahead),
    ]


def table(evaluated: Evaluated, advice: MethodsAdvice) -> str:
    """Defects found and image AUROC of every line, by product and in the mean."""
    head = ["product", "taken"]
    for line in evaluated:
        head += [f"found, {line}", f"AUROC, {line}"]
    rows = []
    for one in advice.products:
        row = [one.name, one.taken]
        for found in evaluated.values():
            row += [figure(found[one.name].detection_rate), figure(found[one.name].image_auroc)]
        rows.append(row)
    means = [mean_of(found) for found in evaluated.values()]
    cells = [figure(mean[name]) for mean in means for name in ("detection_rate", "image_auroc")]
    return text_table(head, [*rows, ["mean", "", *cells]])


if __name__ == "__main__":
    main()
