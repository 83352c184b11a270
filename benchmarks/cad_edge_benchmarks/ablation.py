"""What each part of the default configuration is worth, one left out or exchanged at a time.

    python -m cad_edge_benchmarks.ablation [--data DIR] [--variant NAME ...] [--task NAME ...]

Learns, exports and evaluates the open categories once per variant, with one seed, and writes the
means into docs/results/cmpmb-ablation.json and the method's README. A run goes on where the result
file ends: variants that it holds are not measured again.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from cad_edge.artifact import list_artifacts, read_record
from cad_edge.errors import CadEdgeError
from cad_edge.stream import read_stream
from cad_edge_benchmarks.accuracy import README
from cad_edge_benchmarks.curriculum import evaluate_bundle
from cad_edge_benchmarks.evaluation import mean_of
from cad_edge_benchmarks.headings import HEADINGS
from cad_edge_benchmarks.machine import describe_machine, versions
from cad_edge_benchmarks.open_data import REPOSITORY, data_folder, write_stream
from cad_edge_benchmarks.tables import figure, markdown_table, replace_between, write_result
from cad_edge_benchmarks.workshop import export, learn

RESULT = REPOSITORY / "docs" / "results" / "cmpmb-ablation.json"
BEGIN, END = "<!-- ablation:begin -->", "<!-- ablation:end -->"
FIGURES = (
    "detection_rate",
    "false_reject_rate",
    "found_of_perfect",
    "image_auroc",
    "pixel_auroc",
    "aupro",
    "routing_normal",
    "routing_defective",
)


@dataclass(frozen=True)
class Variant:
    """One configuration beside the default."""

    meaning: str
    settings: tuple[str, ...] = ()
    selector: str = "discriminant"


PUBLISHED = (
    "memories=7+10x196",
    "compression=k_center",
    "whitening=false",
    "border_correction=false",
    "statistics_blocks=",
    "top_fraction=0",
    "normalisation=sigmoid",
)
PROMPTS = ("prompts=true", "prompt_from_block=5")

VARIANTS = {
    "default": Variant("the default configuration"),
    "default+prompts": Variant("additive prompts from block 5, 10 epochs", PROMPTS),
    "published-prompts": Variant("memory, score and scale as published, no prompts", PUBLISHED),
    "published": Variant("as published but for prompts from block 5", (*PUBLISHED, *PROMPTS)),
    "one-memory": Variant("memory of blocks 7+10 alone", ("memories=7+10x256",)),
    "-whitening": Variant("patches not whitened", ("whitening=false",)),
    "-statistics": Variant("image score without channel statistics", ("statistics_blocks=",)),
    "-border": Variant("padding's share left in", ("border_correction=false",)),
    "k-centre": Variant("greedy k-centre memories", ("compression=k_center",)),
    "key-set": Variant("routing by the published key set", selector="key_set"),
}


@click.command("ablation")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the open categories.")
@click.option("--variant", "names", multiple=True, type=click.Choice(list(VARIANTS)))
@click.option("--task", "tasks", multiple=True, help="Only this category; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=2, show_default=True)
def main(
    data: Path | None,
    names: tuple[str, ...],
    tasks: tuple[str, ...],
    out: Path,
    seed: int,
    threads: int,
) -> None:
    """Measure variants of the default configuration."""
    result = json.loads(out.read_text()) if out.is_file() else {"variants": {}}
    result |= {"seed": seed, "machine": describe_machine(), "versions": versions()}
    try:
        folder = data_folder(data)
        for name in names or VARIANTS:
            if name in result["variants"]:
                continue
            click.echo(f"{name}: {VARIANTS[name].meaning}")
            with tempfile.TemporaryDirectory() as place:
                stream = Path(place) / "stream.json"
                write_stream(stream, folder, tasks)
                result["variants"][name] = measure(VARIANTS[name], stream, seed, threads)
            write_result(out, result)
    except CadEdgeError as problem:
        raise click.ClickException(str(problem)) from None
    table = markdown_table(*rows(result["variants"]))
    click.echo(table)
    if out == RESULT and README.is_file():
        replace_between(README, BEGIN, END, table)


def measure(variant: Variant, stream_file: Path, seed: int, threads: int) -> dict[str, object]:
    """Learn, export and evaluate one variant; its mean figures and seconds per task."""
    place = stream_file.parent
    options = [word for setting in variant.settings for word in ("--set", setting)]
    learn(stream_file, place / "artifacts", seed, options)
    artifacts = list_artifacts(place / "artifacts")
    export(artifacts, place / "bundle", place / "staging", selector=variant.selector)
    means = mean_of(evaluate_bundle(place / "bundle", read_stream(stream_file), threads))
    seconds = [read_record(artifact).provenance.seconds for artifact in artifacts]
    return {
        "meaning": variant.meaning,
        "settings": list(variant.settings),
        "tasks": [artifact.name for artifact in artifacts],
        "seconds_per_task": sum(seconds) / len(seconds),
        **{name: means[name] for name in FIGURES},
    }


def rows(variants: dict[str, dict[str, object]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table."""
    head = ["variant", *(HEADINGS[name] for name in FIGURES), "s per task", "what differs"]
    lines = [
        [
            name,
            # A result file that is gone on with may hold variants measured before a figure was.
            *(figure(found.get(key)) for key in FIGURES),
            figure(found["seconds_per_task"], 1),
            str(found["meaning"]),
        ]
        for name, found in variants.items()
    ]
    return head, lines


if __name__ == "__main__":
    main()
