"""What the accuracy result has to reach: defects found and good parts rejected first."""

from collections.abc import Iterable, Mapping
from typing import Any

from cad_edge_benchmarks.reporting.targets import Target

Result = Mapping[str, Any]

OF_PERFECT = "found of what a perfect threshold finds, mean of the RGB categories"
REJECTED = "frames of a left-out product called unknown, mean"


def accuracy_targets(result: Result) -> list[Target]:
    """Every row of "must reach" that this result answers."""
    return [*_verdicts(result), *_scores(result), *_products(result), *_costs(result)]


def _verdicts(result: Result) -> list[Target]:
    mean, rate = result["mean"], f"{100 * result['stated_false_reject_rate']:g} %"
    worst = _largest(task["false_reject_rate"] for task in result["tasks"].values())
    unknown = mean["unknown_defective"]
    return [
        Target(f"defects found at {rate} stated, mean", "at least", 0.75, mean["detection_rate"]),
        Target("false rejects, mean", "at most", 0.05, mean["false_reject_rate"]),
        Target("false rejects, worst category", "at most", 0.10, worst),
        Target(OF_PERFECT, "at least", 0.92, result["mean_rgb"]["found_of_perfect"]),
        *_in(result, "cookie", "defects found", 0.9, "detection_rate"),
        *_in(result, "pcb", "defects found", 0.55, "detection_rate"),
        Target("defective frames called unknown, mean", "at most", 0.01, unknown),
    ]


def _in(result: Result, name: str, what: str, limit: float, figure: str) -> list[Target]:
    """Row of a category that has a limit of its own, where it was measured."""
    if name not in result["tasks"]:
        return []
    return [Target(f"{name}: {what}", "at least", limit, result["tasks"][name][figure])]


def _scores(result: Result) -> list[Target]:
    mean = result["mean"]
    return [
        Target("mean image AUROC, routed", "at least", 0.955, mean["image_auroc"]),
        *_in(result, "pcb", "image AUROC, routed", 0.93, "image_auroc"),
        Target("mean pixel AUROC, routed", "at least", 0.92, mean["pixel_auroc"]),
    ]


def _products(result: Result) -> list[Target]:
    """Which product it is: known ones, one that was left out, and older ones as more are added."""
    mean = result["mean"]
    novelty = mean["unknown_product_auroc"]
    changed = sum(layout["changed_images"] for layout in result["forgetting"].values())
    return [
        Target("routing, good images", "at least", 0.995, mean["routing_normal"]),
        Target(REJECTED, "at least", 0.95, mean["unknown_product_rejected"]),
        Target("unknown product AUROC, mean", "at least", 0.995, novelty),
        Target("images changed by later tasks, both layouts", "at most", 0, changed),
    ]


def _costs(result: Result) -> list[Target]:
    """Rows of exported engines, of a further task and of learning."""
    certificates = [one for layout in result["certificates"].values() for one in layout.values()]
    flips = sum(one["flips"] for one in certificates)
    # In fractions of the range of scores.
    difference = max(
        (one[name] or 0.0 for one in certificates for name in ("score_max", "map_max")), default=0.0
    )
    tasks = list(result["tasks"].values())
    ram = _megabytes(result["ram_bytes_per_further_task"])
    disk = _megabytes(_largest(task["disk_bytes"] for task in tasks[1:]))
    # From 100 to 130 images count as 120.
    seconds = _largest(task["seconds"] for task in tasks if 100 <= task["images_train"] <= 130)
    return [
        Target("engines against torch", "at most", 1e-4, difference, "range"),
        Target("label flips in certificates", "at most", 0, flips),
        Target("RAM per further task", "at most", 1, ram, "MB"),
        Target("disk per further task", "at most", 1, disk, "MB"),
        Target("learning 120 images", "at most", 60, seconds, "s"),
    ]


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _megabytes(count: float | None) -> float | None:
    return None if count is None else count / 1e6
