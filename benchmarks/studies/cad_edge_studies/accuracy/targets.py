"""What the accuracy result has to reach: defects found and good parts rejected first."""

from collections.abc import Mapping
from typing import Any

from cad_edge_benchmarks.reporting.targets import Target

Result = Mapping[str, Any]

TYPICAL_IMAGES = range(100, 131)
"""Training images of a task that counts as one of 120 images."""

_MEGABYTE = 1e6

FOUND = 0.75
FOUND_OF_PERFECT = 0.92
FALSE_REJECTS_MEAN, FALSE_REJECTS_WORST = 0.05, 0.10
FOUND_IN = {"cookie": 0.9, "pcb": 0.55}
"""Defects found, of categories that have a limit of their own."""
DEFECTIVE_UNKNOWN = 0.01
IMAGE_AUROC, PIXEL_AUROC = 0.955, 0.92
IMAGE_AUROC_IN = {"pcb": 0.93}
ROUTED_GOOD = 0.995
LEFT_OUT_UNKNOWN, LEFT_OUT_AUROC = 0.95, 0.995
ENGINE_DIFFERENCE = 1e-4
"""Largest difference between an engine and torch, in fractions of the range of scores."""
FURTHER_TASK_MEGABYTES = 1
LEARNING_SECONDS = 60


def accuracy_targets(result: Result) -> list[Target]:
    """Every row of "must reach" that this result answers."""
    return [*_verdicts(result), *_scores(result), *_products(result), *_costs(result)]


def _verdicts(result: Result) -> list[Target]:
    mean, rate = result["mean"], f"{100 * result['stated_false_reject_rate']:g} %"
    rejects = [task["false_reject_rate"] for task in result["tasks"].values()]
    worst = max((one for one in rejects if one is not None), default=None)
    of_perfect = result["mean_rgb"]["found_of_perfect"]
    return [
        Target(f"defects found at {rate} stated, mean", "at least", FOUND, mean["detection_rate"]),
        Target("false rejects, mean", "at most", FALSE_REJECTS_MEAN, mean["false_reject_rate"]),
        Target("false rejects, worst category", "at most", FALSE_REJECTS_WORST, worst),
        Target(
            "found of what a perfect threshold finds, mean of the RGB categories",
            "at least",
            FOUND_OF_PERFECT,
            of_perfect,
        ),
        *_of_categories(result, "defects found", FOUND_IN, "detection_rate"),
        Target(
            "defective frames called unknown, mean",
            "at most",
            DEFECTIVE_UNKNOWN,
            mean["unknown_defective"],
        ),
    ]


def _of_categories(
    result: Result, what: str, limits: Mapping[str, float], figure: str
) -> list[Target]:
    """Rows of the categories that have a limit of their own, where they were measured."""
    return [
        Target(f"{name}: {what}", "at least", limit, result["tasks"][name][figure])
        for name, limit in limits.items()
        if name in result["tasks"]
    ]


def _scores(result: Result) -> list[Target]:
    mean = result["mean"]
    return [
        Target("mean image AUROC, routed", "at least", IMAGE_AUROC, mean["image_auroc"]),
        *_of_categories(result, "image AUROC, routed", IMAGE_AUROC_IN, "image_auroc"),
        Target("mean pixel AUROC, routed", "at least", PIXEL_AUROC, mean["pixel_auroc"]),
    ]


def _products(result: Result) -> list[Target]:
    """Which product it is: known ones, one that was left out, and older ones as more are added."""
    mean = result["mean"]
    changed = sum(layout["changed_images"] for layout in result["forgetting"].values())
    return [
        Target("routing, good images", "at least", ROUTED_GOOD, mean["routing_normal"]),
        Target(
            "frames of a left-out product called unknown, mean",
            "at least",
            LEFT_OUT_UNKNOWN,
            mean["unknown_product_rejected"],
        ),
        Target(
            "unknown product AUROC, mean", "at least", LEFT_OUT_AUROC, mean["unknown_product_auroc"]
        ),
        Target("images changed by later tasks, both layouts", "at most", 0, changed),
    ]


def _costs(result: Result) -> list[Target]:
    """Rows of exported engines, of a further task and of learning."""
    certificates = [one for layout in result["certificates"].values() for one in layout.values()]
    differences = [
        value for one in certificates for value in (one["score_max"], one["map_max"]) if value
    ]
    flips = sum(one["flips"] for one in certificates)
    largest, ram = max(differences, default=0.0), result["ram_bytes_per_further_task"]
    each = FURTHER_TASK_MEGABYTES
    return [
        Target("engines against torch", "at most", ENGINE_DIFFERENCE, largest, "range"),
        Target("label flips in certificates", "at most", 0, flips),
        Target("RAM per further task", "at most", each, _megabytes(ram), "MB"),
        Target("disk per further task", "at most", each, _megabytes(_further_disk(result)), "MB"),
        Target("learning 120 images", "at most", LEARNING_SECONDS, _typical_seconds(result), "s"),
    ]


def _megabytes(count: float | None) -> float | None:
    return None if count is None else count / _MEGABYTE


def _further_disk(result: Result) -> float | None:
    sizes = [task["disk_bytes"] for task in result["tasks"].values()][1:]
    return max(sizes, default=None)


def _typical_seconds(result: Result) -> float | None:
    tasks = result["tasks"].values()
    typical = [task["seconds"] for task in tasks if task["images_train"] in TYPICAL_IMAGES]
    return max(typical, default=None)
