"""The accuracy result for people: targets, the terminal and the table in the method's README."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cad_edge_benchmarks.tables import figure, markdown_table, replace_between, text_table
from cad_edge_benchmarks.targets import HEAD, Target, target_rows, targets_table

BEGIN = "<!-- accuracy:begin -->"
END = "<!-- accuracy:end -->"
RESULTS_BEGIN = "<!-- results:begin -->"
RESULTS_END = "<!-- results:end -->"

TYPICAL_IMAGES = range(100, 131)
"""Training images of a task that counts as one of 120 images."""

_MEGABYTE = 1e6

COLUMNS = {
    "image_auroc": "image AUROC",
    "image_auroc_task_given": "task given",
    "image_ap": "AP",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
    "routing_normal": "routed good",
    "routing_defective": "routed defective",
    "unknown_product_auroc": "left out AUROC",
    "false_reject_rate": "false rejects",
    "detection_rate": "defects found",
}

Result = Mapping[str, Any]


def accuracy_targets(result: Result) -> list[Target]:
    """Every row of "must reach" that this result answers."""
    mean = result["mean"]
    certificates = [one for layout in result["certificates"].values() for one in layout.values()]
    changed = sum(layout["changed_images"] for layout in result["forgetting"].values())
    differences = [
        value for one in certificates for value in (one["score_max"], one["map_max"]) if value
    ]
    ram = result["ram_bytes_per_further_task"]
    return [
        Target("mean image AUROC, routed", "at least", 0.92, mean["image_auroc"]),
        Target("mean pixel AUROC, routed", "at least", 0.92, mean["pixel_auroc"]),
        Target("routing, good images", "at least", 0.995, mean["routing_normal"]),
        Target("routing, defective images", "at least", 0.99, mean["routing_defective"]),
        Target("unknown product AUROC, mean", "at least", 0.97, mean["unknown_product_auroc"]),
        Target("images changed by later tasks, both layouts", "at most", 0, changed),
        Target("engines against torch", "at most", 1e-4, max(differences, default=0.0), "range"),
        Target(
            "label flips in certificates", "at most", 0, sum(one["flips"] for one in certificates)
        ),
        Target(
            "RAM per further task", "at most", 1, None if ram is None else ram / _MEGABYTE, "MB"
        ),
        Target("disk per further task", "at most", 1, _further_disk(result), "MB"),
        Target("learning 120 images", "at most", 90, _typical_seconds(result), "s"),
    ]


def _further_disk(result: Result) -> float | None:
    sizes = [task["disk_bytes"] for task in result["tasks"].values()][1:]
    return max(sizes) / _MEGABYTE if sizes else None


def _typical_seconds(result: Result) -> float | None:
    tasks = result["tasks"].values()
    typical = [task["seconds"] for task in tasks if task["images_train"] in TYPICAL_IMAGES]
    return max(typical, default=None)


def _rows(result: Result) -> list[list[str]]:
    named = [*result["tasks"].items(), ("mean", result["mean"])]
    return [
        [
            name,
            *(figure(values.get(column)) for column in COLUMNS),
            _amount(values.get("seconds"), 1, 0),
            _amount(values.get("disk_bytes"), 1e3, 0),
        ]
        for name, values in named
    ]


def _amount(value: float | None, unit: float, digits: int) -> str:
    return figure(None if value is None else float(value) / unit, digits)


def _head() -> list[str]:
    return ["task", *COLUMNS.values(), "seconds", "disk kB"]


def print_report(result: Result) -> None:
    """Print the table, the facts below it and the targets."""
    click.echo(text_table(_head(), _rows(result)))
    click.echo(f"\n{_facts(result)}\n")
    click.echo(targets_table(accuracy_targets(result)))


def _facts(result: Result) -> str:
    machine, versions = result["machine"], result["versions"]
    ram = result["ram_bytes_per_further_task"]
    matrix = result["routed_matrix"]
    parts = [
        f"Seed {result['seed']}, backbone {result['backbone']}, stated false-reject rate "
        f"{result['stated_false_reject_rate']:g}.",
        f"{machine['cpu']}, {machine['cores']} cores; onnxruntime "
        f"{versions.get('onnxruntime', '-')}, torch {versions.get('torch', '-')}, "
        f"Python {machine['python']}.",
        f"Routed over the stages: A-AUROC {figure(matrix['a_auroc'])}, FM {figure(matrix['fm'], 4)}"
        f"; images changed with the task given: shared "
        f"{result['forgetting']['shared']['changed_images']}, fused "
        f"{result['forgetting']['fused']['changed_images']}.",
        f"RAM per further task {_amount(ram, 1e3, 0)} kB.",
    ]
    if len(result["seeds"]) > 1:
        spread = [mean["image_auroc"] for mean in result["seeds"].values()]
        parts.append(
            f"Mean image AUROC over {len(spread)} seeds: {min(spread):.3f} to {max(spread):.3f}."
        )
    return " ".join(parts)


def update_readme(page: Path | None, result: Result) -> None:
    """Put the table into ``page``; nothing without a page or where it is not there."""
    if page is None or not page.is_file():
        return
    text = f"{markdown_table(_head(), _rows(result))}\n\n{_facts(result)}"
    replace_between(page, BEGIN, END, text)


def update_front_page(page: Path, result: Result) -> None:
    """Put every target with its figure into the project's README."""
    table = markdown_table(HEAD, target_rows(accuracy_targets(result)))
    replace_between(page, RESULTS_BEGIN, RESULTS_END, f"{table}\n\n{_facts(result)}")
